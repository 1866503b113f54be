"""Columns of how a subscription logs in: their secrets are sealed on their way into the database.

Source: RFC 7617 (Basic), RFC 6749 (OAuth2), RFC 8707 (resource).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import transport
from orderhooks.encryption import HIDDEN, Purpose, Sealed

__all__ = [
    "BASIC",
    "HEADER",
    "IN_BODY",
    "LOGINS",
    "NONE",
    "OAUTH2",
    "Member",
    "SealedAuthenticationField",
    "SealedCertificateField",
    "origin_of",
    "seal_authentication",
    "seal_certificate",
    "secrets_of",
]

NONE, BASIC, OAUTH2 = "none", "basic", "oauth2"
# How an OAuth2 client authenticates: the names of RFC 7591, 2.
HEADER, IN_BODY = "client_secret_basic", "client_secret_post"
# Controls, and halves of characters, which nothing can encode.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# RFC 6749, A.4: scopes are of these characters, with spaces between them.
SCOPE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")


@dataclass(frozen=True, slots=True)
class Member:
    """A value of a login. `choices`: the first is the default."""

    name: str
    label: Promise
    help_text: Promise | str = ""
    is_secret: bool = False
    is_required: bool = False
    longest: int = 255
    choices: tuple[str, ...] = ()


# Each type of login with its members, in the order in which they are shown.
LOGINS: Mapping[str, tuple[Member, ...]] = {
    NONE: (),
    BASIC: (
        Member("username", _("user name"), _("Without a colon."), is_required=True),
        Member("password", _("password"), is_secret=True, is_required=True, longest=1024),
    ),
    OAUTH2: (
        Member(
            "token_url",
            _("token URL"),
            _("Where the authorization server gives access tokens. An https URL."),
            is_required=True,
            longest=2000,
        ),
        Member("client_id", _("client id"), is_required=True),
        Member("client_secret", _("client secret"), is_secret=True, is_required=True, longest=1024),
        Member("scope", _("scope"), _("Scopes with spaces between them, if the server needs one."), longest=1000),
        Member("audience", _("audience"), _("For servers that ask for one, such as Auth0."), longest=1000),
        Member(
            "resource", _("resource"), _("The URL of the resource (RFC 8707), if the server needs it."), longest=1000
        ),
        Member(
            "client_authentication",
            _("client authentication"),
            _("Whether the id and the secret of the client are sent in a header (the default) or in the body."),
            choices=(HEADER, IN_BODY),
        ),
    ),
}


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, however it is spelled (RFC 6454)."""
    try:
        parts = urlsplit(transport.check_url(url))
    except transport.UrlRefusedError:
        # No request goes there now; another setting may allow it later.
        return url
    return f"{parts.scheme}://{parts.netloc}"


def secrets_of(value: Any) -> list[str | Sealed]:
    """The secrets of an authentication or of a client certificate, sealed or not."""
    names = {"private_key", *(one.name for members in LOGINS.values() for one in members if one.is_secret)}
    return [one for name, one in value.items() if name in names] if isinstance(value, Mapping) else []


@sensitive_variables()
def seal_authentication(given: Any, *, former: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An authentication with its secret sealed. `{}` is none.

    `given` has the `type` (none, basic, oauth2) and its members. A secret that is `(hidden)` is kept from `former`, if
    that has the same type and, for oauth2, if the token URL has the same host.

    Raises:
        ValidationError: it is not valid. The code of each of its errors is the name of the member.
    """
    if not isinstance(given, Mapping):
        raise ValidationError('Give an object such as {"type": "basic", "username": "…", "password": "…"}.')
    kind = given.get("type", NONE)
    if not isinstance(kind, str) or kind not in LOGINS:
        raise _invalid("type", f"type: must be one of {', '.join(LOGINS)}.")
    members = LOGINS[kind]
    errors = [
        _invalid(str(name), f"{name}: is not a member of the type {kind}.")
        for name in given
        if name not in {"type", *(one.name for one in members)}
    ]
    former = former or {}
    may_keep = former.get("type") == kind and (
        kind != OAUTH2 or origin_of(str(given.get("token_url", ""))) == origin_of(former["token_url"])
    )
    sealed: dict[str, Any] = {"type": kind}
    for member in members:
        value = given.get(member.name, member.choices[0] if member.choices else "")
        if value == HIDDEN and member.is_secret and former.get("type") == kind:
            if not may_keep:
                text = f"{member.name}: give it again, because the token URL has another host."
                errors.append(_invalid(member.name, text))
                continue
            value = former[member.name]
        try:
            _require(member, value)
        except ValidationError as error:
            errors.append(error)
            continue
        if member.is_secret and isinstance(value, str):
            value = Sealed.of(value, Purpose.LOGIN)
        if value:
            sealed[member.name] = value
    if errors:
        raise ValidationError(errors)
    return sealed if members else {}


@sensitive_variables()
def _require(member: Member, value: Any) -> None:
    """Raises ValidationError, with the member's name as code, unless the value is valid."""
    name = member.name
    if member.is_secret and isinstance(value, Sealed):
        return
    if not isinstance(value, str):
        raise _invalid(name, f"{name}: must be a text.")
    if member.is_required and (not value or value == HIDDEN):
        raise _invalid(name, f"{name}: is missing.")
    if CONTROL.search(value) or len(value) > member.longest:
        raise _invalid(name, f"{name}: must have at most {member.longest} characters and no line breaks.")
    if member.choices and value not in member.choices:
        raise _invalid(name, f"{name}: must be one of {', '.join(member.choices)}.")
    if name == "username" and ":" in value:
        raise _invalid(name, "username: must not have a colon, which separates it from the password (RFC 7617).")
    if name == "scope" and not SCOPE.fullmatch(value):
        raise _invalid(name, "scope: must be of ASCII characters without quotes and backslashes (RFC 6749, A.4).")
    if name == "token_url":
        try:
            transport.check_url(value)
        except transport.UrlRefusedError as error:
            raise _invalid(name, f"token_url: {error}") from None


@sensitive_variables()
def seal_certificate(given: Any, *, former: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A client certificate with its private key sealed. `{}` is none.

    `given` has `certificate` (PEM, the client's own first), `private_key` (PEM), and the `passphrase` of the key, which
    is not kept. A key that is `(hidden)` is kept from `former`, if that has the same certificate.

    Raises:
        ValidationError: it is not valid. The code of each of its errors is the name of the member.
    """
    if not isinstance(given, Mapping):
        raise ValidationError('Give an object such as {"certificate": "…", "private_key": "…"}, both in PEM.')
    if not given:
        return {}
    members = ("certificate", "private_key", "passphrase")
    if unknown := [str(name) for name in given if name not in members]:
        raise ValidationError(
            [_invalid(name, f"{name}: is not a member. Members: {', '.join(members)}.") for name in unknown]
        )
    values = {name: given.get(name, "") for name in members}
    if isinstance(values["private_key"], Sealed):
        return {"certificate": values["certificate"], "private_key": values["private_key"]}
    errors = [_invalid(name, f"{name}: must be a text.") for name, one in values.items() if not isinstance(one, str)]
    errors += [_invalid(name, f"{name}: is missing.") for name in members[:2] if values[name] == ""]
    if errors:
        raise ValidationError(errors)
    if values["private_key"] == HIDDEN:
        if values["passphrase"]:
            raise _invalid("passphrase", "passphrase: opens a private key. Give that again too, or no passphrase.")
        if former and _stripped(values["certificate"]) == _stripped(former["certificate"]):
            return dict(former)
        raise _invalid("private_key", "private_key: give it again, because the certificate is another one.")
    try:
        chain, key = transport.normalized(**{"chain": values["certificate"], **{n: values[n] for n in members[1:]}})
    except transport.InvalidCertificateError as error:
        raise _invalid(error.member, f"{error.member}: {error}") from None
    return {"certificate": chain, "private_key": Sealed.of(key, Purpose.LOGIN)}


def _stripped(pem: str) -> str:
    return "".join(pem.split())


def _invalid(member: str, text: str) -> ValidationError:
    return ValidationError(text, code=member)


def _is_sealed(value: Mapping[str, Any]) -> bool:
    """Whether it was checked before: settings may refuse a stored token URL since, which does not bar other changes."""
    secrets = secrets_of(value)
    return bool(secrets) and all(isinstance(one, Sealed) for one in secrets)


class _SealedField(models.JSONField):
    """A mapping of texts; those that are secret are stored as `{"sealed": "<Fernet token>"}`, and read back sealed."""

    seal: Callable[..., dict[str, Any]]

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return self.to_python(super().from_db_value(value, expression, connection))

    def to_python(self, value: Any) -> Any:
        if not value or not isinstance(value, Mapping):
            return value
        return {
            name: Sealed(one["sealed"], Purpose.LOGIN) if isinstance(one, Mapping) and set(one) == {"sealed"} else one
            for name, one in value.items()
        }

    @sensitive_variables()
    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(self.get_prep_value(value), model_instance)

    @sensitive_variables()
    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Seals the secrets on the instance too: otherwise printing it would show them."""
        value = super().pre_save(model_instance, add)
        if isinstance(value, Mapping) and not _is_sealed(value):
            value = self.seal(value)
            setattr(model_instance, self.attname, value)
        return value

    @sensitive_variables()
    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            value = {
                name: {"sealed": one.token} if isinstance(one, Sealed) else one
                for name, one in (value if _is_sealed(value) else self.seal(value)).items()
            }
        return super().get_prep_value(value)

    def value_to_string(self, obj: models.Model) -> Any:
        return self.get_prep_value(self.value_from_object(obj))


class SealedAuthenticationField(_SealedField):
    seal = staticmethod(seal_authentication)


class SealedCertificateField(_SealedField):
    seal = staticmethod(seal_certificate)
