"""Values of headers and logins stay with the host that they were given for: another URL does not get them.

A subscription's headers and its login may hold a credential of its receiver, which nobody can read back. A user who may
change the URL could have it sent to a host of their own. So a change of the URL's origin drops the stored values,
whether it is made in the admin, the API, a command or a program.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import models, router, transaction
from django.views.decorators.debug import sensitive_variables

from orderhooks.db.sealed_logins import origin_of, secrets_of
from orderhooks.encryption import HIDDEN, Sealed

__all__ = ["LOGINS", "HasHeaders", "origin_of"]

# The columns of how a subscription logs in. One whose secrets were not given again is dropped as a whole.
LOGINS = ("authentication", "client_certificate")


class HasHeaders(models.Model):
    """A row with a `url`, sealed `headers` and sealed logins."""

    class Meta:
        abstract = True

    @sensitive_variables()
    def save(self, *args: Any, **options: Any) -> None:
        """Stored values of headers and logins are dropped if the URL moves to another origin.

        See `headers_left_behind` and `logins_left_behind`.
        """
        written: Iterable[str] | None = options.get("update_fields")
        if self._state.adding or args or (written is not None and "url" not in written):
            super().save(*args, **options)
            return
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            # Locked: a value that another process saves for the former URL meanwhile is dropped too.
            no_key = transaction.get_connection(using).features.has_select_for_no_key_update
            locked = type(self)._base_manager.using(using).select_for_update(no_key=no_key)
            list(locked.filter(pk=self.pk).values_list("pk"))
            stored = self._stored_for_another_host(self.url, using=using)  # type: ignore[attr-defined]
            if stored is not None:
                left = _not_given_again(self.headers, stored["headers"])  # type: ignore[has-type]
                self.headers = {name: value for name, value in self.headers.items() if name not in left}  # type: ignore[has-type]
                for name in LOGINS:
                    if _holds_former(getattr(self, name), stored[name]):
                        setattr(self, name, {})
                if written is not None:
                    # Also if the instance has none: the row may.
                    options["update_fields"] = {*written, "headers", *LOGINS}
            super().save(*args, **options)

    @sensitive_variables()
    def headers_left_behind(self, *, url: str, headers: Mapping[str, str | Sealed] | None = None) -> list[str]:
        """The names of those of these headers whose values may not go along to `url`, because its origin is another
        than that of the stored URL and the values were not given again. For forms, before they save.

        `headers` are as they will be saved (None: as they are on the instance). A value that is the stored one, or
        still `(hidden)`, was not given again.
        """
        using = self._state.db or router.db_for_write(type(self), instance=self)
        stored = self._stored_for_another_host(url, using=using)
        chosen = self.headers if headers is None else headers
        return [] if stored is None else _not_given_again(chosen, stored["headers"])

    @sensitive_variables()
    def logins_left_behind(self, *, url: str, **logins: Any) -> list[str]:
        """The same of `authentication` and `client_certificate`: the names of those that may not go along to `url`.

        `logins` are as they will be saved; those that are missing are as they are on the instance.
        """
        using = self._state.db or router.db_for_write(type(self), instance=self)
        stored = self._stored_for_another_host(url, using=using)
        if stored is None:
            return []
        return [name for name in LOGINS if _holds_former(logins.get(name, getattr(self, name)), stored[name])]

    def _stored_for_another_host(self, url: str, *, using: str) -> Mapping[str, Any] | None:
        """The stored headers and logins by column, if the stored URL has another origin than this one."""
        rows: Any = type(self)._base_manager.using(using).filter(pk=self.pk)
        stored = None if self._state.adding else rows.values("url", "headers", *LOGINS).first()
        return None if stored is None or origin_of(stored["url"]) == origin_of(url) else stored


def _not_given_again(headers: Mapping[str, str | Sealed], stored: Mapping[str, Sealed]) -> list[str]:
    """The names of the headers whose values are the stored ones, or still `(hidden)`."""
    former = {value.token for value in stored.values()}
    return [
        name
        for name, value in headers.items()
        if value == HIDDEN or (isinstance(value, Sealed) and value.token in former)
    ]


def _holds_former(value: Any, stored: Any) -> bool:
    """Whether a login has a secret that is stored, or still `(hidden)`."""
    former = {one.token for one in secrets_of(stored) if isinstance(one, Sealed)}
    return any(one == HIDDEN or (isinstance(one, Sealed) and one.token in former) for one in secrets_of(value))
