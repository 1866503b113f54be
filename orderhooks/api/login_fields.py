"""How a subscription logs in, in the API: secrets are written, and never read.

What handles secrets hides its variables from error reports, and hands DRF nothing that would show them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers

from orderhooks import transport
from orderhooks.api.openapi.descriptions import Schema
from orderhooks.db.sealed_logins import LOGINS as TYPES
from orderhooks.db.sealed_logins import NONE, seal_authentication, seal_certificate
from orderhooks.encryption import HIDDEN, Sealed
from orderhooks.models import Subscription
from orderhooks.models.header_hosts import LOGINS

__all__ = ["AuthenticationField", "ClientCertificateField", "left_behind_text", "login_errors", "login_schema"]

CODE = "login"


class _LoginField(serializers.Field[Any, Any, Any, Any]):
    """An object with secret members. Sending `(hidden)` keeps the stored value."""

    seal: Callable[..., dict[str, Any]]
    default_error_messages = {"object": "Send an object."}

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            self.fail("object")
        instance: Subscription | None = getattr(self.parent, "instance", None)
        former = getattr(instance, str(self.field_name)) if instance else None
        try:
            return self.seal(data, former=former)
        except ValidationError as error:
            raise serializers.ValidationError(_by_member(error), code=CODE) from None


class AuthenticationField(_LoginField):
    """`{"type": "none"}`, or a type with its members."""

    seal = staticmethod(seal_authentication)

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping) and "type" not in data:
            raise serializers.ValidationError({"type": [f"is missing. Send one of {', '.join(TYPES)}."]}, code=CODE)
        return super().to_internal_value(data)

    def to_representation(self, value: Any) -> dict[str, Any]:
        return {"type": NONE, **_hidden(value)}


class ClientCertificateField(_LoginField):
    """The chain with its private key; null removes it. Reading shows what the certificate says."""

    seal = staticmethod(seal_certificate)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is None:
            return {}
        if data == {}:
            text = "Send a certificate with its private_key, or null to remove the one that is there."
            raise serializers.ValidationError([text], code="required")
        return super().run_validation(data)

    def to_representation(self, value: Any) -> dict[str, Any] | None:
        if not value:
            return None
        facts = transport.facts_of(value["certificate"])
        return {
            **_hidden(value),
            "subject": facts.subject,
            "issuer": facts.issuer,
            "not_before": facts.not_before.isoformat().replace("+00:00", "Z"),
            "not_after": facts.not_after.isoformat().replace("+00:00", "Z"),
            "fingerprint": facts.fingerprint,
        }


def _hidden(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: HIDDEN if isinstance(one, Sealed) else one for name, one in value.items()}


def _by_member(error: ValidationError) -> dict[str, list[str]]:
    """The texts by the member that they are about. Their place says its name."""
    found: dict[str, list[str]] = {}
    for one in error.error_list:
        text = "".join(one.messages)
        found.setdefault(str(one.code), []).append(text.removeprefix(f"{one.code}: "))
    return found


@sensitive_variables()
def login_errors(instance: Subscription | None, attrs: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the login as a whole, by field: with its headers, its URL, or another host than before."""
    names = ("url", "headers", "authentication", "client_certificate")
    if not any(name in attrs for name in names):
        return {}
    values = {name: attrs[name] if name in attrs else getattr(instance or Subscription(), name) for name in names}
    errors: dict[str, list[str]] = {}
    try:
        Subscription(**values).require_compatible_login()
    except ValidationError as error:
        errors = error.message_dict
    if instance is None or "url" not in attrs:
        return errors
    for name in instance.logins_left_behind(**{one: attrs[one] for one in names if one in attrs and one != "headers"}):
        # One that was not sent is dropped, like headers.
        if name in attrs:
            text = "The URL has another host, and this was given for the former one. Send its secret again."
            errors.setdefault(name, []).append(text)
    return errors


@sensitive_variables()
def left_behind_text(subscription: Subscription, values: Mapping[str, Any]) -> str:
    """What a change drops of headers and logins, because it moves the URL to another host; a sentence each."""
    url, headers = values.get("url", subscription.url), values.get("headers", subscription.headers)
    text = ""
    if dropped := subscription.headers_left_behind(url=url, headers=headers):
        were = "value of 1 header was" if len(dropped) == 1 else f"values of {len(dropped)} headers were"
        text = f" The {were} dropped, because the URL has another host."
    given = {name: values[name] for name in LOGINS if name in values}
    if logins := subscription.logins_left_behind(url=url, **given):
        text += f" Dropped {', '.join(logins)}, because the URL has another host."
    return text


def login_schema(field: _LoginField, *, is_request: bool) -> Schema:
    """The JSON Schema of either field. Secrets are write-only: reading shows `(hidden)`."""
    if isinstance(field, ClientCertificateField):
        return _certificate_schema(is_request=is_request)
    return {"oneOf": [_authentication_schema(kind, is_request=is_request) for kind in TYPES]}


def _authentication_schema(kind: str, *, is_request: bool) -> Schema:
    properties: dict[str, Schema] = {"type": {"type": "string", "const": kind}}
    for member in TYPES[kind]:
        limits: Schema = {"maxLength": member.longest} if is_request else {}
        if member.is_required and is_request:
            limits["minLength"] = 1
        if member.choices:
            limits = {"enum": list(member.choices)}
        if member.is_secret and not is_request:
            limits = {"const": HIDDEN}
        properties[member.name] = {"type": "string", **limits, "description": str(member.help_text or member.label)}
    required = ["type", *(member.name for member in TYPES[kind] if member.is_required)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _certificate_schema(*, is_request: bool) -> Schema:
    pem: Schema = {"type": "string", "description": "The chain in PEM, the client's own certificate first."}
    key: Schema = {"type": "string", "description": "The private key in PEM."}
    if is_request:
        passphrase = {"type": "string", "description": "Of the private key. It is not stored."}
        properties = {"certificate": pem, "private_key": key, "passphrase": passphrase}
        required = ["certificate", "private_key"]
    else:
        text: Schema = {"type": "string"}
        time: Schema = {"type": "string", "format": "date-time"}
        shown = {"subject": text, "issuer": text, "not_before": time, "not_after": time, "fingerprint": text}
        properties = {"certificate": pem, "private_key": {"type": "string", "const": HIDDEN}, **shown}
        required = list(properties)
    return {
        "type": ["object", "null"],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
