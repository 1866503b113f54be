"""Subscriptions: who wants to hear what, where, and how it has been going."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import secrets, signing, topics, transport
from orderhooks.models import public_ids
from orderhooks.models.fields import SealedHeadersField, seal
from orderhooks.secrets import Sealed

# Hosts' clocks differ a little; an event too many is better than one that is lost.
CLOCK_SKEW = timedelta(seconds=5)
# How long a former signing secret goes on signing beside the new one.
OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)


def validate_url(url: str) -> None:
    """Raises ValidationError for a URL that no delivery could be sent to."""
    try:
        transport.check_url(url)
    except transport.UrlRefusedError as error:
        raise ValidationError(str(error), code="url") from None


def validate_topics(patterns: object) -> None:
    """Raises ValidationError unless it is a list of topics, families (`order.*`) or `*`, with at least one."""
    if not isinstance(patterns, list) or not patterns:
        raise ValidationError(
            _('Name at least one topic, as a list: ["order.paid"], ["order.*"] or ["*"].'), code="topics"
        )
    for pattern in patterns:
        try:
            topics.require_pattern(pattern)
        except topics.UnknownTopicError as error:
            raise ValidationError(str(error), code="topic") from None


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """How many rows were put under the newest key, and the subscriptions of those that no key opens."""

    rows: int
    unreadable: tuple[str, ...]


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def pause(self) -> int:
        """Hold deliveries until somebody resumes. Returns how many were not paused before."""
        chosen = self._chosen().exclude(state=Subscription.State.PAUSED)
        return chosen.update(state=Subscription.State.PAUSED, state_reason="")

    def resume(self) -> int:
        """Send again, and forget former failures: else the next one would disable at once. Returns how many."""
        chosen = self._chosen().exclude(state=Subscription.State.ACTIVE)
        return chosen.update(
            state=Subscription.State.ACTIVE, state_reason="", failing_since=None, consecutive_failures=0
        )

    def reencrypt_headers(self) -> "Reencrypted":
        """Put the headers' values under the newest key."""
        done, unreadable = 0, []
        for pk in self.exclude(headers={}).values_list("pk", flat=True).iterator():
            with transaction.atomic(using=self.db):
                row = self.model.objects.select_for_update().get(pk=pk)
                try:
                    headers = {name: Sealed(secrets.reencrypt(value.token)) for name, value in row.headers.items()}
                except secrets.UndecryptableError:
                    unreadable.append(row.public_id)
                    continue
                if headers != row.headers:
                    row.headers = headers
                    row.save(update_fields=["headers"])
                    done += 1
        return Reencrypted(done, tuple(unreadable))

    def _chosen(self) -> "SubscriptionQuerySet":
        # By key: the caller's list may be filtered by the very state that changes, sliced or ordered.
        return Subscription.objects.filter(pk__in=list(self.values_list("pk", flat=True)))


class Subscription(models.Model):
    """An endpoint URL and the topics it wants."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        PAUSED = "paused", _("paused")  # by an operator; its deliveries are held
        DISABLED = (
            "disabled",
            _("disabled"),
        )  # by orderhooks, for the reason in `state_reason`; its deliveries are held

    class Signature(models.TextChoices):
        """The profiles of `signing.PROFILES`: how requests are signed."""

        STANDARD = "standard", _("Standard Webhooks (HMAC-SHA256)")
        ED25519 = "ed25519", _("Standard Webhooks with a public key (Ed25519)")
        GITHUB = "github", _("as GitHub signs")
        STRIPE = "stripe", _("as Stripe signs")
        SHOPIFY = "shopify", _("as Shopify signs")
        WOOCOMMERCE = "woocommerce", _("as WooCommerce signs")

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.subscription_id
    )
    name = models.CharField(_("name"), max_length=200)
    store = models.CharField(_("store"), max_length=64, blank=True, help_text=_("Leave blank for all stores."))
    url = models.CharField(_("URL"), max_length=2000, validators=[validate_url])
    topics = models.JSONField(
        _("topics"),
        default=list,
        validators=[validate_topics],
        help_text=_('A list such as ["order.paid", "order.cancelled"], ["order.*"] or ["*"].'),
    )
    headers = SealedHeadersField(_("headers"), default=dict, blank=True)
    signature = models.CharField(_("signature"), max_length=16, choices=Signature, default=Signature.STANDARD)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.ACTIVE)
    state_reason = models.CharField(_("reason"), max_length=200, blank=True)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    consecutive_failures = models.PositiveIntegerField(_("consecutive failures"), default=0, editable=False)
    last_success_at = models.DateTimeField(_("last success"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["active", "paused", "disabled"]), name="orderhooks_subscription_state"
            ),
            models.CheckConstraint(condition=~Q(url=""), name="orderhooks_subscription_has_url"),
            models.CheckConstraint(
                condition=Q(signature__in=["standard", "ed25519", "github", "stripe", "shopify", "woocommerce"]),
                name="orderhooks_subscription_signature",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def wants(self, topic: str, *, store: str, at: datetime) -> bool:
        """Whether an event of that topic and store at that time goes to this subscription, whatever its state."""
        return self.store in ("", store) and self.created_at <= at + CLOCK_SKEW and topics.matches(self.topics, topic)

    @sensitive_variables()
    def live_secrets(self, *, now: datetime) -> list[str]:
        """The signing secrets in force, newest first. Raises secrets.UndecryptableError."""
        rows = self.secrets.all()  # prefetched by the sender
        live = [row for row in rows if row.expires_at is None or row.expires_at > now]
        return [row.reveal() for row in sorted(live, key=lambda row: row.pk, reverse=True)]

    @sensitive_variables()
    def own_headers(self) -> dict[str, str]:
        """The headers that it adds to its requests, in the clear. Raises secrets.UndecryptableError."""
        return {name: value.reveal() for name, value in self.headers.items()}

    @sensitive_variables()
    def add_secret(self) -> str:
        """Make a new signing secret beside those in force and return it: the only time that it is shown."""
        secret = signing.generate_secret(self.signature)
        SubscriptionSecret.objects.create(
            subscription=self, encrypted=secrets.encrypt(secret), public_key=signing.public_key(secret)
        )
        return secret

    @sensitive_variables()
    def rotate_secret(self, *, now: datetime, overlap: timedelta = OVERLAP) -> str:
        """Make a new secret and return it, shown this once. Those in force sign beside it for `overlap` at most.

        No overlap revokes them now.
        """
        with transaction.atomic():
            # One rotation after the other: each leaves but one secret without an end.
            Subscription.objects.select_for_update().get(pk=self.pk)
            self._end_secrets(self.secrets.all(), now=now, at=now + overlap)
            return self.add_secret()

    def revoke_former_secrets(self, *, now: datetime) -> int:
        """End the overlap: from now on the newest secret alone signs. Returns how many were revoked."""
        with transaction.atomic():
            Subscription.objects.select_for_update().get(pk=self.pk)
            newest = self.secrets.order_by("-pk").values_list("pk", flat=True).first()
            return self._end_secrets(self.secrets.exclude(pk__in=[newest]), now=now, at=now)

    def _end_secrets(self, chosen: "SubscriptionSecretQuerySet", *, now: datetime, at: datetime) -> int:
        ended = chosen.live(now=at).update(expires_at=at)
        self.secrets.expired(now=now).delete()
        return ended

    @sensitive_variables()
    def fit_secret(self, *, now: datetime) -> str:
        """A new secret if the lasting one is not of the kind that `signature` needs, else ""."""
        shared = signing.kind(self.signature) == signing.SYMMETRIC
        fitting = self.secrets.filter(Q(public_key="") if shared else ~Q(public_key=""), expires_at=None)
        return "" if fitting.exists() else self.rotate_secret(now=now)

    @classmethod
    @sensitive_variables()
    def create_with_secret(
        cls, *, headers: Mapping[str, str | Sealed] | None = None, **fields: object
    ) -> tuple["Subscription", str]:
        """A new subscription and its first secret, in one transaction. Raises ValidationError for bad headers."""
        sealed = seal(headers or {})
        with transaction.atomic():
            subscription = cls.objects.create(headers=sealed, **fields)
            return subscription, subscription.add_secret()

    def note_success(self, *, now: datetime) -> bool:
        """The endpoint answered 2xx. True if it had been failing before."""
        Subscription.objects.filter(pk=self.pk).update(last_success_at=now)
        return bool(
            Subscription.objects.filter(pk=self.pk, consecutive_failures__gt=0).update(
                consecutive_failures=0, failing_since=None
            )
        )

    def note_failure(self, *, now: datetime) -> None:
        """The endpoint failed an attempt."""
        Subscription.objects.filter(pk=self.pk).update(
            consecutive_failures=F("consecutive_failures") + 1, failing_since=Coalesce("failing_since", now)
        )

    def disable(self, reason: str) -> bool:
        """Stop an active subscription's traffic. False if it was not active (any more)."""
        return bool(
            Subscription.objects.filter(pk=self.pk, state=self.State.ACTIVE).update(
                state=self.State.DISABLED, state_reason=reason
            )
        )

    def disable_if_failing(self, *, now: datetime, longer_than: timedelta) -> bool:
        """Disable it if it has done nothing but fail for that long. True if this call did it."""
        return bool(
            Subscription.objects.filter(
                pk=self.pk, state=self.State.ACTIVE, failing_since__lte=now - longer_than
            ).update(
                state=self.State.DISABLED,
                state_reason=f"Every attempt has failed for {longer_than.days} days.",
            )
        )


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
                new = secrets.reencrypt(token)
            except secrets.UndecryptableError:
                unreadable.append(owner)
            else:
                done += self.filter(pk=pk, encrypted=token).update(encrypted=new) if new != token else 0
        return Reencrypted(done, tuple(unreadable))


class SubscriptionSecret(models.Model):
    """A signing secret, encrypted. Several may be in force at once; each signs."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="secrets")
    encrypted = models.TextField(editable=False)
    # What receivers check its signatures with; blank for a secret that both sides share.
    public_key = models.CharField(_("public key"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    objects = SubscriptionSecretQuerySet.as_manager()

    class Meta:
        verbose_name = _("signing secret")
        verbose_name_plural = _("signing secrets")

    def __str__(self) -> str:
        return f"secret {self.pk}"

    @sensitive_variables()
    def reveal(self) -> str:
        """The secret itself. Raises secrets.UndecryptableError."""
        return secrets.decrypt(self.encrypted)
