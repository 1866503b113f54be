"""Logins: how a subscription's requests show an endpoint who sends them, beside the signature and its own headers."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import transport
from orderhooks.db.sealed_logins import (
    IN_BODY,
    NONE,
    OAUTH2,
    SealedAuthenticationField,
    SealedCertificateField,
    origin_of,
    secrets_of,
)
from orderhooks.encryption import Sealed

__all__ = ["EXPIRY_WARNINGS", "HasLogins", "warnings_due"]

# How long before the end of a client certificate people are warned. Each warning is one e-mail.
EXPIRY_WARNINGS = (timedelta(days=30), timedelta(days=7), timedelta(0))

TWO_AUTHORIZATIONS = _(
    "The headers have an Authorization of their own, and a request has only one. Remove that header, or choose none"
    " here."
)
ANOTHER_SERVER = _("client_secret: give it again, because the token URL has another host.")
NEEDS_TLS = _("A client certificate is presented over TLS alone. Give an https URL, or no certificate.")


class HasLogins(models.Model):
    """A row with a `url` and `headers`, and how its requests log in."""

    authentication = SealedAuthenticationField(
        _("authentication"),
        default=dict,
        blank=True,
        help_text=_("How requests log in: none, basic (user name and password) or oauth2 (client credentials)."),
    )
    client_certificate = SealedCertificateField(
        _("client certificate"),
        default=dict,
        blank=True,
        help_text=_("For endpoints that demand one (mutual TLS): the chain and its private key, in PEM."),
    )
    # Of the client certificate; None without one.
    certificate_expires_at = models.DateTimeField(_("certificate expires at"), null=True, editable=False)
    # How many of EXPIRY_WARNINGS were sent about this certificate.
    expiry_warnings_sent = models.PositiveSmallIntegerField(default=0, editable=False)

    class Meta:
        abstract = True

    public_id: Any
    url: Any
    headers: Any

    @sensitive_variables()
    def save(self, *args: Any, **options: Any) -> None:
        """Keeps the end of the client certificate beside it. Another certificate is warned of anew."""
        written: Iterable[str] | None = options.get("update_fields")
        if "client_certificate" not in self.get_deferred_fields() and (
            written is None or "client_certificate" in written
        ):
            self.keep_expiry()
            if written is not None:
                options["update_fields"] = {*written, "certificate_expires_at", "expiry_warnings_sent"}
        super().save(*args, **options)

    @sensitive_variables()
    def keep_expiry(self) -> None:
        """Set the columns that follow from the client certificate. To be saved."""
        facts = self.certificate_facts
        expires_at = facts.not_after if facts else None
        if expires_at != self.certificate_expires_at:
            self.certificate_expires_at, self.expiry_warnings_sent = expires_at, 0

    def clean(self) -> None:
        super().clean()
        self.require_compatible_login()

    def require_compatible_login(self, written: Iterable[str] | None = None) -> None:
        """Raises ValidationError if the login fits neither the headers nor the URL.

        `written`: the names of the fields that are about to be saved; None: all.
        """
        concerned = {"authentication", "client_certificate", "headers", "url"} - self.get_deferred_fields()
        if written is not None and not concerned & {*written}:
            return
        errors = {}
        names = [str(name).lower() for name in self.headers] if isinstance(self.headers, Mapping) else []
        if self.login_type != NONE and "authorization" in names:
            errors["authentication"] = ValidationError(TWO_AUTHORIZATIONS, code="authentication")
        if self.client_certificate and not str(self.url).lower().startswith("https:"):
            errors["client_certificate"] = ValidationError(NEEDS_TLS, code="certificate")
        if "authentication" not in errors and (written is None or "authentication" in written):
            errors |= self._secrets_of_another_server()
        if errors:
            raise ValidationError(errors)

    def _secrets_of_another_server(self) -> dict[str, ValidationError]:
        """An error if the stored client secret would go to another authorization server."""
        if self._state.adding or self.login_type != OAUTH2:
            return {}
        stored = type(self)._base_manager.filter(pk=self.pk).values_list("authentication", flat=True).first() or {}
        kept = [one for one in secrets_of(self.authentication) if one in secrets_of(stored)]
        if not kept or origin_of(self.authentication["token_url"]) == origin_of(stored.get("token_url", "")):
            return {}
        return {"authentication": ValidationError(ANOTHER_SERVER, code="authentication")}

    @property
    def login_type(self) -> str:
        """`none`, `basic` or `oauth2`."""
        authentication = self.authentication
        return authentication.get("type", NONE) if isinstance(authentication, Mapping) else NONE

    @property
    def certificate_facts(self) -> transport.CertificateFacts | None:
        """Whose certificate it is, and until when it is valid; None without one."""
        certificate = self.client_certificate
        if not isinstance(certificate, Mapping) or not certificate:
            return None
        try:
            return transport.facts_of(certificate["certificate"])
        except (KeyError, ValueError):
            # Not sealed yet: saving it says what is wrong.
            return None

    @sensitive_variables()
    def basic_login(self) -> tuple[str, str]:
        """The user name and the password of HTTP Basic, in the clear. Raises encryption.UndecryptableError."""
        return self.authentication["username"], self.authentication["password"].reveal()

    @sensitive_variables()
    def oauth2_client(self) -> transport.ClientCredentials:
        """The OAuth2 client, in the clear. Raises encryption.UndecryptableError."""
        known = self.authentication
        return transport.ClientCredentials(
            token_url=known["token_url"],
            client_id=known["client_id"],
            client_secret=known["client_secret"].reveal(),
            scope=known.get("scope", ""),
            audience=known.get("audience", ""),
            resource=known.get("resource", ""),
            in_body=known.get("client_authentication") == IN_BODY,
        )

    @sensitive_variables()
    def presented_certificate(self) -> transport.ClientCertificate | None:
        """The client certificate, in the clear; None without one. Raises encryption.UndecryptableError."""
        known = self.client_certificate
        if not known:
            return None
        return transport.ClientCertificate(self.public_id, known["certificate"], known["private_key"].reveal())

    @sensitive_variables()
    def reveal_login(self) -> None:
        """Raises encryption.UndecryptableError if a secret of its logins can't be read."""
        for secret in [*secrets_of(self.authentication), *secrets_of(self.client_certificate)]:
            if isinstance(secret, Sealed):
                secret.reveal()

    def login_digest(self) -> str:
        """Identifies the OAuth2 client. A token that was granted to another one is not used."""
        known = {name: one.token if isinstance(one, Sealed) else one for name, one in self.authentication.items()}
        return hashlib.sha256(json.dumps([known, self.url], sort_keys=True).encode()).hexdigest()


def warnings_due(expires_at: datetime | None, *, now: datetime) -> int:
    """How many of EXPIRY_WARNINGS are due about a certificate: 0 if it is valid for long."""
    return sum(expires_at - before <= now for before in EXPIRY_WARNINGS) if expires_at else 0
