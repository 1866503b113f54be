"""Signing secrets: encrypted rows of a subscription, several of which may be in force at once; how they are rotated."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections, models, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import encryption, logs, signing
from orderhooks.compiled_queries import CompiledQuery
from orderhooks.encryption import Purpose

# The logger of the app, in which stores look up who did what.
logger = logs.get_logger("orderhooks")

# How long a former signing secret goes on signing beside the new one.
OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)
# The most secrets of one subscription that sign at once: each is a signature in every request.
MOST_SECRETS = 10


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """How many rows were re-encrypted with the newest key, and the subscriptions whose rows no key decrypts."""

    rows: int
    unreadable: tuple[str, ...]


class SubscriptionSecretQuerySet(models.QuerySet["SubscriptionSecret"]):
    def live(self, *, now: datetime) -> "SubscriptionSecretQuerySet":
        """Those that sign at that time."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def expired(self, *, now: datetime) -> "SubscriptionSecretQuerySet":
        """Those whose overlap has ended. Only a thief could use them."""
        return self.filter(expires_at__lte=now)

    def attach(self, subscriptions: Iterable["HasSigningSecrets"]) -> None:
        """Give the subscriptions their `known_secrets`."""
        chosen = list(subscriptions)
        secrets: dict[int, list[SubscriptionSecret]] = {one.pk: [] for one in chosen}
        for secret in OF_SUBSCRIPTIONS.of(secrets, using=self.db):
            secrets[secret.subscription_id].append(secret)
        for one in chosen:
            one.known_secrets = secrets[one.pk]

    def reencrypt(self) -> Reencrypted:
        """Re-encrypt the secrets with the newest key."""
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


OF_SUBSCRIPTIONS = CompiledQuery(lambda: SubscriptionSecret.objects.all(), key="subscription")


class HasSigningSecrets(models.Model):
    """A row that signs its requests: how, and with which secrets."""

    signature = models.CharField(_("signature"), max_length=16, choices=signing.choices(), default=signing.STANDARD)

    # The signing secret that was made with the row. On the instance that saved it, and nowhere else: "".
    new_secret: str = ""
    # All of them, where `attach` has read them.
    known_secrets: list[SubscriptionSecret] | None = None
    # Before a new row is saved: the signing secret that its receiver has already, or "" to have one made.
    given_secret: str = ""
    # Of the subscription that this is a part of.
    public_id: Any
    secrets: Any

    class Meta:
        abstract = True

    @sensitive_variables()
    def live_secrets(self, *, now: datetime) -> list[str]:
        """The signing secrets in force, newest first, MOST_SECRETS at most. Raises encryption.UndecryptableError."""
        rows = self.secrets.all() if self.known_secrets is None else self.known_secrets
        live = [row for row in rows if row.expires_at is None or row.expires_at > now]
        return [row.reveal() for row in sorted(live, key=lambda row: row.pk, reverse=True)[:MOST_SECRETS]]

    @sensitive_variables("shown")
    def reveal_secrets(self, *, by: str, now: datetime) -> list[str]:
        """The signing secrets in force, newest first, for a person to see; the log `orderhooks` keeps who it was.

        Raises encryption.UndecryptableError.
        """
        shown = self.live_secrets(now=now)
        logger.warning("secrets revealed", subscription=self.public_id, by=by)
        return shown

    @sensitive_variables()
    def require_valid_secret(self) -> None:
        """Raises ValidationError if no request can be signed with the secret that is given."""
        if self.given_secret:
            try:
                signing.require_secret(self.given_secret, self.signature)
            except signing.InvalidSecretError as error:
                raise ValidationError({"secret": ValidationError(str(error), code="secret")}) from None

    @sensitive_variables()
    def add_secret(self, secret: str = "") -> str:
        """Add a signing secret to those in force and return it. A blank one is made, and this is the only time that it
        is shown. Raises signing.InvalidSecretError.
        """
        row, secret = self._make_secret(secret)
        row.save(using=router.db_for_write(SubscriptionSecret, instance=self))
        return secret

    @sensitive_variables()
    def _make_secret(self, secret: str = "") -> tuple[SubscriptionSecret, str]:
        """A secret's row, not saved yet, and the secret itself."""
        secret = signing.require_secret(secret, self.signature) if secret else signing.generate_secret(self.signature)
        row = SubscriptionSecret(
            subscription=self,  # type: ignore[misc]
            encrypted=encryption.encrypt(secret, Purpose.SIGNING_SECRET),
            public_key=signing.public_key(secret),
        )
        return row, secret

    @sensitive_variables()
    def rotate_secret(self, *, now: datetime, overlap: timedelta = OVERLAP) -> str:
        """Make a new secret and return it, shown this once. Those in force sign beside it for `overlap` at most.

        No overlap revokes them now. Of more than MOST_SECRETS the oldest are revoked: a rotation is never refused,
        because a leaked secret has to go.
        """
        with transaction.atomic(using=type(self)._base_manager.db):
            # One rotation after the other: each leaves but one secret without an end.
            self._lock()
            self._end_secrets(self.secrets.all(), now=now, at=now + overlap)
            oldest = self.secrets.order_by("-pk").values_list("pk", flat=True)[MOST_SECRETS - 1 :]
            if keys := list(oldest):
                logger.warning("secrets revoked: there were too many", subscription=self.public_id, most=MOST_SECRETS)
                self._end_secrets(self.secrets.filter(pk__in=keys), now=now, at=now)
            # What failed may have been repaired.
            mine = type(self)._base_manager.filter(pk=self.pk)
            mine.update(last_unsent="", last_unsent_at=None)  # type: ignore[misc]  # fields of the whole
            return self.add_secret()

    def revoke_former_secrets(self, *, now: datetime) -> int:
        """End the overlap: from now on the newest secret alone signs. Returns how many were revoked."""
        with transaction.atomic(using=type(self)._base_manager.db):
            self._lock()
            newest = self.secrets.order_by("-pk").values_list("pk", flat=True).first()
            return self._end_secrets(self.secrets.exclude(pk__in=[newest]), now=now, at=now)

    def _lock(self) -> None:
        # Where the database can, the lock still lets others refer to the row: events are routed meanwhile.
        no_key = connections[type(self)._base_manager.db].features.has_select_for_no_key_update
        type(self)._base_manager.select_for_update(no_key=no_key).get(pk=self.pk)

    def _end_secrets(self, chosen: SubscriptionSecretQuerySet, *, now: datetime, at: datetime) -> int:
        ended = chosen.live(now=at).update(expires_at=at)
        self.secrets.expired(now=now).delete()
        return ended

    @sensitive_variables()
    def fit_secret(self, *, now: datetime) -> str:
        """A new secret if the lasting one is not of the kind that `signature` needs, otherwise ""."""
        shared = signing.secret_prefix(self.signature) == signing.SHARED_PREFIX
        fitting = self.secrets.filter(Q(public_key="") if shared else ~Q(public_key=""), expires_at=None)
        return "" if fitting.exists() else self.rotate_secret(now=now)
