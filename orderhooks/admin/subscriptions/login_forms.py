"""How a subscription logs in, as it is typed: a choice, and fields for each type of login.

Secrets are typed, and never shown again: a blank one keeps what is stored.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks.db.sealed_logins import (
    BASIC,
    HEADER,
    IN_BODY,
    LOGINS,
    NONE,
    OAUTH2,
    Member,
    seal_authentication,
    seal_certificate,
)
from orderhooks.encryption import HIDDEN
from orderhooks.models import Subscription

__all__ = ["LOGIN_FIELDS", "SECRET_FIELDS", "LoginsForm"]

TYPES: Mapping[str, Promise] = {
    NONE: _("None: by the signature and the headers alone"),
    BASIC: _("HTTP Basic: a user name and a password"),
    OAUTH2: _("OAuth2: an access token for client credentials"),
}
CHOICES: Mapping[str, Promise] = {
    HEADER: _("in a header (client_secret_basic)"),
    IN_BODY: _("in the body (client_secret_post)"),
}
Seal = Callable[..., dict[str, Any]]
KEPT = _("Is set. Blank: it stays.")
WITHOUT_KEY = _("A passphrase opens a private key: type the certificate and its key too, or leave this blank.")
AGAIN = _("Type it again: no page shows it.")
OTHER_HOST = _("The URL has another host, and this was given for the former one. Type it again, or choose none.")


def _field_name(kind: str, member: str) -> str:
    return f"{kind}_{member}"


class _SecretText(forms.Textarea):
    """A text of several lines that no page shows, also if the form has errors."""

    def format_value(self, value: Any) -> str:
        return ""


class _TypeField(forms.ChoiceField):
    """The type of a stored authentication."""

    def prepare_value(self, value: Any) -> Any:
        return value.get("type", NONE) if isinstance(value, Mapping) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial or {}), data)


class _ChainField(forms.CharField):
    """The chain of a stored client certificate."""

    def prepare_value(self, value: Any) -> Any:
        return value.get("certificate", "") if isinstance(value, Mapping) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial or {}).split() != (data or "").split())


def _form_field(member: Member) -> forms.Field:
    label = str(member.label)[:1].upper() + str(member.label)[1:]
    if member.choices:
        choices = [(one, CHOICES[one]) for one in member.choices]
        return forms.ChoiceField(label=label, required=False, choices=choices, help_text=str(member.help_text))
    attributes = {"size": 60, "autocomplete": "new-password" if member.is_secret else "off", "spellcheck": "false"}
    widget = forms.PasswordInput(attrs=attributes) if member.is_secret else forms.TextInput(attrs=attributes)
    return forms.CharField(label=label, required=False, widget=widget, strip=False, help_text=str(member.help_text))


MEMBER_FIELDS: Mapping[str, tuple[str, Member]] = {
    _field_name(kind, member.name): (kind, member) for kind, members in LOGINS.items() for member in members
}
CERTIFICATE_FIELDS = ("client_certificate", "certificate_key", "certificate_passphrase")
# All that a page about logins has, in this order.
LOGIN_FIELDS = ("authentication", *MEMBER_FIELDS, *CERTIFICATE_FIELDS)
SECRET_FIELDS = (
    *(name for name, (_kind, member) in MEMBER_FIELDS.items() if member.is_secret),
    "certificate_key",
    "certificate_passphrase",
)
# Which column a field belongs to, if it is not named like it.
COLUMNS = {
    **dict.fromkeys(MEMBER_FIELDS, "authentication"),
    **dict.fromkeys(CERTIFICATE_FIELDS, "client_certificate"),
}


class LoginsForm(forms.ModelForm):
    """A part of the subscription's form."""

    authentication = _TypeField(
        label=_("Authentication"),
        required=False,
        choices=list(TYPES.items()),
        help_text=_("Beside the signature. The secrets are encrypted, and stay with the host of the URL."),
    )
    client_certificate = _ChainField(
        label=_("Client certificate"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80, "autocomplete": "off", "spellcheck": "false"}),
        help_text=_(
            "For endpoints that demand one (mutual TLS), in PEM, the client's own certificate first. Blank: none."
        ),
    )
    certificate_key = forms.CharField(
        label=_("Its private key"),
        required=False,
        strip=False,
        widget=_SecretText(attrs={"rows": 4, "cols": 80, "autocomplete": "off", "spellcheck": "false"}),
        help_text=_("In PEM. Encrypted, and never shown again."),
    )
    certificate_passphrase = forms.CharField(
        label=_("Passphrase of the key"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"size": 60, "autocomplete": "new-password"}),
        help_text=_("If the key has one. It is not stored."),
    )

    class Meta:
        model = Subscription
        fields = ["authentication", "client_certificate"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = self.instance.authentication or {}
        for name, (kind, member) in MEMBER_FIELDS.items():
            if name in self.fields and member.choices:
                # A select always sends a value.
                self.initial.setdefault(name, member.choices[0])
            if name not in self.fields or known.get("type") != kind:
                continue
            if member.is_secret:
                self.fields[name].help_text = KEPT
            else:
                self.initial[name] = known.get(member.name) or self.initial.get(name, "")
        if self.instance.client_certificate and "certificate_key" in self.fields:
            self.fields["certificate_key"].help_text = KEPT

    @cached_property
    def changed_data(self) -> list[str]:
        """The columns: a login is one, however many fields it has."""
        chosen = self.data.get(self.add_prefix("authentication")) or NONE
        # What is left in the fields of the other types is not read.
        names = (one for one in super().changed_data if MEMBER_FIELDS.get(one, (chosen,))[0] == chosen)
        return list(dict.fromkeys(COLUMNS.get(name, name) for name in names))

    def full_clean(self) -> None:
        super().full_clean()
        if not self.errors:
            return
        for name in SECRET_FIELDS:
            # If it were left blank by oversight, what is stored would stay.
            if self.data.get(self.add_prefix(name)) and name not in self.errors and name in self.fields:
                self.add_error(name, ValidationError(AGAIN, code="again"))

    @sensitive_variables()
    def clean_certificate_passphrase(self) -> str:
        passphrase: str = self.cleaned_data["certificate_passphrase"]
        if passphrase and "certificate_key" in self.cleaned_data and not self.cleaned_data["certificate_key"].strip():
            raise ValidationError(WITHOUT_KEY, code="passphrase")
        return passphrase

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not {"authentication", "client_certificate"} <= cleaned.keys():
            return cleaned
        kind = cleaned["authentication"] or NONE
        typed: Mapping[str, tuple[Seal, Mapping[str, str]]] = {
            "authentication": (seal_authentication, {"type": kind, **dict(self._members(kind, cleaned))}),
            "client_certificate": (seal_certificate, self._certificate(cleaned)),
        }
        for column, (seal, given) in typed.items():
            former = getattr(self.instance, column)
            try:
                cleaned[column] = seal(given, former=former)
            except ValidationError as error:
                cleaned[column] = former
                for one in error.error_list:
                    text = "".join(one.messages).removeprefix(f"{one.code}: ")
                    # Above its field, which is not named again: "is missing."
                    text = f"It {text}" if text[:1].islower() else text
                    self.add_error(self._place(column, kind, str(one.code)), ValidationError(text, code="login"))
        if "url" in cleaned:
            logins = {column: cleaned.get(column, {}) for column in typed}
            for column in self.instance.logins_left_behind(url=cleaned["url"], **logins):
                secret = _secret_of(kind) if column == "authentication" else "private_key"
                self.add_error(self._place(column, kind, secret), ValidationError(OTHER_HOST, code="host"))
        return cleaned

    def _place(self, column: str, kind: str, member: str) -> str:
        """The field of a member; the column's own if the member has none."""
        names = {"private_key": "certificate_key", "passphrase": "certificate_passphrase"}
        name = _field_name(kind, member) if column == "authentication" else names.get(member, column)
        return name if name in self.fields else column

    @sensitive_variables()
    def _members(self, kind: str, cleaned: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        has_former = (self.instance.authentication or {}).get("type") == kind
        for member in LOGINS[kind]:
            typed = cleaned.get(_field_name(kind, member.name)) or ""
            if member.choices and not typed:
                typed = member.choices[0]
            yield member.name, HIDDEN if member.is_secret and not typed and has_former else typed

    @sensitive_variables()
    def _certificate(self, cleaned: Mapping[str, Any]) -> dict[str, str]:
        chain, key = cleaned["client_certificate"] or "", cleaned.get("certificate_key") or ""
        if not chain.strip() and not key.strip():
            return {}
        if not key.strip():
            key = HIDDEN if self.instance.client_certificate else ""
        passphrase = "" if key == HIDDEN else cleaned.get("certificate_passphrase") or ""
        return {"certificate": chain, "private_key": key, "passphrase": passphrase}


LoginsForm.declared_fields.update({name: _form_field(member) for name, (_kind, member) in MEMBER_FIELDS.items()})


def _secret_of(kind: str) -> str:
    return next((member.name for member in LOGINS[kind] if member.is_secret), "")
