"""Values of headers stay with the host that they were given for: another URL does not get them.

A subscription's headers may hold a credential of its receiver, which nobody can read back. A user who may change the
URL could have it sent to a host of their own. So a change of the URL's origin drops the stored values, whether it is
made in the admin, the API, a command or a program.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db import models, router, transaction
from django.views.decorators.debug import sensitive_variables

from orderhooks import transport
from orderhooks.encryption import HIDDEN, Sealed

__all__ = ["HasHeaders", "origin_of"]


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, however it is spelled (RFC 6454)."""
    try:
        parts = urlsplit(transport.check_url(url))
    except transport.UrlRefusedError:
        # No request goes there now; another setting may allow it later.
        return url
    return f"{parts.scheme}://{parts.netloc}"


class HasHeaders(models.Model):
    """A row with a `url` and sealed `headers`."""

    class Meta:
        abstract = True

    @sensitive_variables()
    def save(self, *args: Any, **options: Any) -> None:
        """Stored values of headers are dropped if the URL moves to another origin. See `headers_left_behind`."""
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
                left = _not_given_again(self.headers, stored)  # type: ignore[has-type]
                self.headers = {name: value for name, value in self.headers.items() if name not in left}  # type: ignore[has-type]
                if written is not None:
                    # Also if the instance has none: the row may.
                    options["update_fields"] = {*written, "headers"}
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
        return [] if stored is None else _not_given_again(chosen, stored)

    def _stored_for_another_host(self, url: str, *, using: str) -> Mapping[str, Sealed] | None:
        """The stored headers, if the stored URL has another origin than this one."""
        rows: Any = type(self)._base_manager.using(using).filter(pk=self.pk)
        stored = None if self._state.adding else rows.values("url", "headers").first()
        return None if stored is None or origin_of(stored["url"]) == origin_of(url) else stored["headers"]


def _not_given_again(headers: Mapping[str, str | Sealed], stored: Mapping[str, Sealed]) -> list[str]:
    """The names of the headers whose values are the stored ones, or still `(hidden)`."""
    former = {value.token for value in stored.values()}
    return [
        name
        for name, value in headers.items()
        if value == HIDDEN or (isinstance(value, Sealed) and value.token in former)
    ]
