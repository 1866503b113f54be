"""Subscriptions: who wants to hear what, where, and how it has been going."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks import secrets, signing, topics, transport
from orderhooks.models import public_ids

# Hosts' clocks differ a little; an event too many is better than one that is lost.
CLOCK_SKEW = timedelta(seconds=5)


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
        ]

    def __str__(self) -> str:
        return self.name

    def wants(self, topic: str, *, store: str, at: datetime) -> bool:
        """Whether an event of that topic and store at that time goes to this subscription, whatever its state."""
        return self.store in ("", store) and self.created_at <= at + CLOCK_SKEW and topics.matches(self.topics, topic)

    def live_secrets(self, *, now: datetime) -> list[str]:
        """The signing secrets in force, newest first. Raises secrets.UndecryptableError."""
        rows = self.secrets.all()  # prefetched by the sender
        live = [row for row in rows if row.expires_at is None or row.expires_at > now]
        return [row.reveal() for row in sorted(live, key=lambda row: row.pk, reverse=True)]

    def add_secret(self) -> str:
        """Make a new signing secret beside those in force and return it: the only time that it is shown."""
        secret = signing.generate_secret()
        SubscriptionSecret.objects.create(subscription=self, encrypted=secrets.encrypt(secret))
        return secret

    @classmethod
    def create_with_secret(cls, **fields: object) -> tuple["Subscription", str]:
        """A new subscription and its first secret, in one transaction."""
        with transaction.atomic():
            subscription = cls.objects.create(**fields)
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


class SubscriptionSecret(models.Model):
    """A signing secret, encrypted. Several may be in force at once; each signs."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="secrets")
    encrypted = models.TextField(editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    class Meta:
        verbose_name = _("signing secret")
        verbose_name_plural = _("signing secrets")

    def __str__(self) -> str:
        return f"secret {self.pk}"

    def reveal(self) -> str:
        """The secret itself. Raises secrets.UndecryptableError."""
        return secrets.decrypt(self.encrypted)
