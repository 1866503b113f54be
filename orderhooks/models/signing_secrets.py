"""Signing secrets: encrypted rows of a subscription, several of which may be in force at once."""

from dataclasses import dataclass
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import encryption
from orderhooks.encryption import Purpose


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """How many rows were put under the newest key, and the subscriptions of those that no key opens."""

    rows: int
    unreadable: tuple[str, ...]


class SubscriptionSecretQuerySet(models.QuerySet["SubscriptionSecret"]):
    def live(self, *, now: datetime) -> "SubscriptionSecretQuerySet":
        """Those that sign at that time."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def expired(self, *, now: datetime) -> "SubscriptionSecretQuerySet":
        """Those whose overlap is over: no use to anybody but a thief."""
        return self.filter(expires_at__lte=now)

    def reencrypt(self) -> Reencrypted:
        """Put the secrets under the newest key."""
        done, unreadable = 0, []
        for pk, token, owner in self.values_list("pk", "encrypted", "subscription__public_id").iterator():
            try:
                new = encryption.reencrypt(token, Purpose.SIGNING_SECRET)
            except encryption.UndecryptableError:
                unreadable.append(owner)
            else:
                done += self.filter(pk=pk, encrypted=token).update(encrypted=new) if new != token else 0
        return Reencrypted(done, tuple(unreadable))


class SubscriptionSecret(models.Model):
    """A signing secret, encrypted. Several may be in force at once; each signs."""

    subscription = models.ForeignKey("orderhooks.Subscription", models.CASCADE, related_name="secrets")
    encrypted = models.TextField(editable=False)
    # What receivers check its signatures with; blank for a secret that both sides share.
    public_key = models.CharField(_("public key"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    objects = SubscriptionSecretQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("signing secret")
        verbose_name_plural = _("signing secrets")

    def __str__(self) -> str:
        return f"secret {self.pk}"

    @sensitive_variables()
    def reveal(self) -> str:
        """The secret itself. Raises encryption.UndecryptableError."""
        return encryption.decrypt(self.encrypted, Purpose.SIGNING_SECRET)
