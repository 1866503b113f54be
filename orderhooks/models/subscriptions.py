"""Subscriptions: who wants to hear what, where, and how it has been going."""

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import OperationalError, connections, models, router, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf, secrets, signing, topics, transport
from orderhooks.db import public_ids
from orderhooks.db.clock import DatabaseClock
from orderhooks.db.encrypted_fields import SealedHeadersField, seal
from orderhooks.db.locks import is_lock_timeout, one_at_a_time
from orderhooks.models.header_hosts import HasHeaders
from orderhooks.models.signing_secrets import Reencrypted, SubscriptionSecret, SubscriptionSecretQuerySet
from orderhooks.secrets import Purpose, Sealed

# The app's own, where stores look for who did what.
logger = logging.getLogger("orderhooks")

# Hosts' clocks differ a little; an event too many is better than one that is lost.
CLOCK_SKEW = timedelta(seconds=5)
NO_LIMIT = 1_000_000_000
DELETE_TRIES = 5
# A pump that ends waits for the slowest attempt, and claims nothing meanwhile.
LONGEST_TIMEOUT_SECONDS = 30
# What `max_per_second` lets out at once: the time between two looks of a pump.
BURST_SECONDS = 0.05
# The first rest of an endpoint, which doubles up to the longest.
COOLING_SECONDS = 1.0
LONGEST_COOLING_SECONDS = 300.0
# An endpoint that takes so many at once again has come back.
RAMP_TOP = 128
# How long a former signing secret goes on signing beside the new one.
OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)
# At most so many secrets of one subscription sign at once: each is a signature in every request.
MOST_SECRETS = 10


# What people choose, and admin and API refuse if it is not valid.
CHOSEN = (
    "name",
    "store",
    "url",
    "topics",
    "signature",
    "max_in_flight",
    "max_per_second",
    "timeout_seconds",
    "contact_email",
)


NO_TOPICS = _('Name at least one topic, as a list: ["order.paid"], ["order.*"] or ["*"].')


def validate_url(url: str) -> None:
    """Raises ValidationError for a URL that no delivery could be sent to."""
    try:
        transport.check_url(url)
    except transport.UrlRefusedError as error:
        raise ValidationError(str(error), code="url") from None


def validate_topics(patterns: object) -> None:
    """Raises ValidationError unless it is a list of topics, families (`order.*`) or `*`, with at least one."""
    if not isinstance(patterns, list) or not patterns:
        raise ValidationError(NO_TOPICS, code="topics")
    for pattern in patterns:
        try:
            topics.require_pattern(pattern)
        except topics.UnknownTopicError as error:
            raise ValidationError(str(error), code="topic") from None


class AmbiguousNameError(LookupError):
    """Several subscriptions have a name that should tell one; `public_ids` are theirs, the text says what to do."""

    def __init__(self, public_ids: list[str]) -> None:
        self.public_ids = public_ids
        ids = ", ".join(public_ids)
        super().__init__(f"{len(public_ids)} subscriptions have this name: {ids}. Rename all but one.")


def sole_declaration(*names: str) -> AbstractContextManager[None]:
    """A transaction in which nobody else declares subscriptions of these names: the same one would be made twice."""
    return one_at_a_time(Subscription.objects.db, *(f"subscription {name}" for name in names))


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def named(self, name: str) -> "Subscription | None":
        """The one that has exactly this name. Raises AmbiguousNameError."""
        if "\x00" in name:
            return None  # PostgreSQL would not even look
        # Some databases take names for equal that are not.
        found = [one for one in self.filter(name=name).order_by("pk") if one.name == name]
        if len(found) > 1:
            raise AmbiguousNameError([one.public_id for one in found])
        return found[0] if found else None

    @sensitive_variables()
    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> Any:
        """Like saving each of them: they are validated, and each gets a secret, to be read from `new_secret`."""
        wanted = list(objs)
        for one in wanted:
            one.require_valid()
        using = router.db_for_write(Subscription)
        with transaction.atomic(using=using):
            made = super().bulk_create(wanted, *args, **options)
            rows = []
            for one in made:
                if one.pk is not None:
                    row, one.new_secret = one._make_secret(one.given_secret)
                    one.given_secret = ""
                    rows.append(row)
            SubscriptionSecret.objects.using(using).bulk_create(rows)
        return made

    def pause(self) -> int:
        """Hold deliveries until somebody resumes. Returns how many were not paused before."""
        chosen = self._chosen().exclude(state=Subscription.State.PAUSED)
        return chosen.update(state=Subscription.State.PAUSED, state_reason="")

    def resume(self) -> int:
        """Send again, and forget former failures: else the next one would disable at once. Returns how many."""
        chosen = self._chosen().exclude(state=Subscription.State.ACTIVE)
        return chosen.update(
            state=Subscription.State.ACTIVE,
            state_reason="",
            failing_since=None,
            consecutive_failures=0,
            cooling_until=None,
            coolings=0,
        )

    def longest_timeout_seconds(self) -> float:
        """How long an attempt to any of them may take."""
        own = self.aggregate(longest=Max("timeout_seconds"))["longest"] or 0
        return max(float(own), conf.current().timeout_seconds)

    def reencrypt_headers(self) -> "Reencrypted":
        """Put the headers' values under the newest key."""
        done, unreadable = 0, []
        for pk in self.exclude(headers={}).values_list("pk", flat=True).iterator():
            with transaction.atomic(using=self.db):
                row = self.model.objects.select_for_update().get(pk=pk)
                try:
                    headers = {
                        name: Sealed(secrets.reencrypt(value.token, Purpose.HEADER))
                        for name, value in row.headers.items()
                    }
                except secrets.UndecryptableError:
                    unreadable.append(row.public_id)
                    continue
                if headers != row.headers:
                    row.headers = headers
                    row.save(update_fields=["headers"])
                    done += 1
        return Reencrypted(done, tuple(unreadable))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them with their deliveries and attempts, of which there may be a million.

        Workers stand back: what is under way is called off first, and new events wait for the subscription's lock.
        Returns what went, deliveries and attempts not counted.
        """
        for _try in range(DELETE_TRIES - 1):
            try:
                return self._delete()
            except OperationalError as error:
                # MariaDB lets one of two go first by ending the other. A transaction round it is ended with it.
                if connections[self.db].in_atomic_block or not is_lock_timeout(error):
                    raise
        return self._delete()

    def _delete(self) -> tuple[int, dict[str, int]]:
        deliveries, attempts = apps.get_model("orderhooks.Delivery"), apps.get_model("orderhooks.Attempt")
        with transaction.atomic(using=self.db):
            keys = list(self._chosen().order_by("pk").values_list("pk", flat=True))
            owed = deliveries.objects.filter(subscription__in=keys)
            # Deliveries first, as workers do it: on MariaDB an update of a delivery locks its subscription after it.
            owed.call_off()
            list(Subscription.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))
            owed.call_off()  # what was routed meanwhile
            attempts.objects.filter(delivery__subscription__in=keys).delete()
            # Django would read each of them first.
            owed._raw_delete(self.db)
            return models.QuerySet.delete(Subscription.objects.filter(pk__in=keys))

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _chosen(self) -> "SubscriptionQuerySet":
        # By key: the caller's list may be filtered by the very state that changes, sliced or ordered.
        return Subscription.objects.filter(pk__in=list(self.values_list("pk", flat=True)))


class Subscription(HasHeaders):
    """An endpoint URL and the topics it wants.

    # Note [Cooling]
    An endpoint that answers 429, 502, 503 or 504, times out or refuses connections is overloaded or away: more requests
    make it worse and use up their deliveries' attempts. So it cools: nothing automatic is sent to it until
    `cooling_until`. Then `ramp` lets one probe out. If that succeeds, the backlog drains at a rising rate; if not, the
    endpoint cools for twice as long.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        PAUSED = "paused", _("paused")  # by an operator; its deliveries are held
        DISABLED = (
            "disabled",
            _("disabled"),
        )  # by orderhooks, for the reason in `state_reason`; its deliveries are held

    class Told(models.TextChoices):
        """What its contact was told last. See `notices`."""

        WELL = "well"
        FAILING = "failing"
        DISABLED = "disabled"

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
    store = models.CharField(_("store"), max_length=255, blank=True, help_text=_("Leave blank for all stores."))
    url = models.CharField(_("URL"), max_length=2000, validators=[validate_url])
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("owner"),
        help_text=_("Sees and changes it in the API, beside those who may manage all subscriptions."),
    )
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
    ordered = models.BooleanField(
        _("ordered"),
        default=False,
        help_text=_("Send an order's events one after the other: one that fails holds up the later ones of its order."),
    )
    max_in_flight = models.PositiveIntegerField(
        _("requests at once"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("At most so many at once, over all workers. Blank: no limit of its own."),
    )
    max_per_second = models.PositiveIntegerField(
        _("requests a second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("At most so many a second, over all workers. Blank: no limit."),
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        _("seconds for an answer"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TIMEOUT_SECONDS)],
        help_text=_("How long one attempt may take, 30 at most. Blank: as the setting TIMEOUT_SECONDS says."),
    )
    contact_email = models.EmailField(
        _("contact"), blank=True, help_text=_("Is told by e-mail how the endpoint is doing, beside the ADMINS.")
    )
    mail_failing = models.BooleanField(
        _("when it fails"), default=True, help_text=_("Every attempt has failed for an hour.")
    )
    mail_disabled = models.BooleanField(
        _("when it is disabled"), default=True, help_text=_("Nothing is sent to it any more.")
    )
    mail_recovered = models.BooleanField(_("when it recovers"), default=True, help_text=_("It answers again."))
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    consecutive_failures = models.PositiveIntegerField(_("consecutive failures"), default=0, editable=False)
    last_success_at = models.DateTimeField(_("last success"), null=True, blank=True, editable=False)
    # In plain words. Both stay when it has recovered.
    last_failure = models.CharField(_("last error"), max_length=500, blank=True, editable=False)
    last_failure_at = models.DateTimeField(_("time of the last error"), null=True, blank=True, editable=False)
    # The same for programs: the outcome's kind (see `transport.NEXT_STEPS`) and the status that was answered, if any.
    last_failure_kind = models.CharField(max_length=32, blank=True, editable=False)
    last_failure_status = models.PositiveSmallIntegerField(null=True, editable=False)
    # The last success that came after failures.
    recovered_at = models.DateTimeField(_("recovered at"), null=True, blank=True, editable=False)
    # Nothing automatic is sent before: the endpoint is overloaded or away. See Note [Cooling].
    cooling_until = models.DateTimeField(_("cooling until"), null=True, blank=True, editable=False)
    # How often it had to cool in a row.
    coolings = models.PositiveSmallIntegerField(default=0, editable=False)
    # Requests at once while it comes back; null: as many as it likes.
    ramp = models.PositiveSmallIntegerField(null=True, editable=False)
    # When the next request may go out, if `max_per_second` says so.
    paced_until = models.DateTimeField(null=True, editable=False)
    told = models.CharField(max_length=16, choices=Told, default=Told.WELL, editable=False)
    told_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SubscriptionQuerySet.as_manager()

    # The signing secret that was made with the row. On the instance that saved it, and nowhere else: "".
    new_secret: str = ""
    # Before a new subscription is saved: the signing secret that its receiver has already, or "" to have one made.
    given_secret: str = ""

    # What attempts change, and people do not.
    HEALTH = (
        "state",
        "state_reason",
        "failing_since",
        "consecutive_failures",
        "last_success_at",
        "last_failure",
        "last_failure_at",
        "last_failure_kind",
        "last_failure_status",
        "recovered_at",
        "cooling_until",
        "coolings",
        "ramp",
    )

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["name", "id"]
        permissions = [
            ("reveal_secret", _("Can see signing secrets")),
            ("manage_all_subscriptions", _("Can manage subscriptions of others in the API")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["active", "paused", "disabled"]), name="orderhooks_subscription_state"
            ),
            models.CheckConstraint(condition=~Q(url=""), name="orderhooks_subscription_has_url"),
            models.CheckConstraint(
                condition=Q(signature__in=["standard", "ed25519", "github", "stripe", "shopify", "woocommerce"]),
                name="orderhooks_subscription_signature",
            ),
            models.CheckConstraint(
                condition=Q(told__in=["well", "failing", "disabled"]), name="orderhooks_subscription_told"
            ),
            models.CheckConstraint(
                condition=Q(max_in_flight__isnull=True) | Q(max_in_flight__gte=1),
                name="orderhooks_subscription_max_in_flight",
            ),
            models.CheckConstraint(
                condition=Q(max_per_second__isnull=True) | Q(max_per_second__gte=1),
                name="orderhooks_subscription_max_per_second",
            ),
            models.CheckConstraint(
                condition=Q(timeout_seconds__isnull=True) | Q(timeout_seconds__range=(1, LONGEST_TIMEOUT_SECONDS)),
                name="orderhooks_subscription_timeout",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @sensitive_variables()
    def save(self, *arguments: Any, **options: Any) -> None:
        """Save it. A new one gets its first signing secret, which can be read from `new_secret` of this instance alone.

        Raises ValidationError for what the admin and the API would refuse too (URL, topics, lengths), if it is new or
        changed: what was allowed once does not bar other changes.
        """
        self.require_valid(options.get("update_fields"))
        if not self._state.adding:
            super().save(*arguments, **options)
            return
        using = options.get("using") or router.db_for_write(Subscription, instance=self)
        with transaction.atomic(using=using):
            super().save(*arguments, **options)
            self.new_secret, self.given_secret = self.add_secret(self.given_secret), ""

    def require_valid(self, written: Iterable[str] | None = None) -> None:
        """Raises ValidationError if a value that a person chose is new and not valid.

        `written`: the names of the fields that are about to be saved; None: all. Workers save others alone, and those
        are not looked at.
        """
        deferred = self.get_deferred_fields()
        names = [name for name in CHOSEN if (written is None or name in written) and name not in deferred]
        if names and not self._state.adding:
            rows = Subscription._base_manager.using(router.db_for_write(Subscription, instance=self))
            stored = rows.filter(pk=self.pk).values(*names).first() or {}
            names = [name for name in names if name not in stored or stored[name] != getattr(self, name)]
        if not names:
            return
        errors: dict[str, list[ValidationError]] = {}
        try:
            self.clean_fields(exclude={field.name for field in self._meta.fields} - set(names))
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        if "topics" in names and not self.topics:
            # An empty list is a blank value, which has no validators to Django.
            errors["topics"] = [ValidationError(NO_TOPICS, code="topics")]
        if self._state.adding and self.given_secret and "signature" not in errors:
            try:
                signing.require_secret(self.given_secret, self.signature)
            except signing.InvalidSecretError as error:
                errors["secret"] = [ValidationError(str(error), code="secret")]
        if errors:
            raise ValidationError(errors)

    @sensitive_variables()
    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """What is stored already is not judged again: settings may have refused a URL since, or dropped a topic."""
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as error:
            if self._state.adding:
                raise
            rows = Subscription._base_manager.using(router.db_for_write(Subscription, instance=self))
            stored = rows.filter(pk=self.pk).values(*error.error_dict).first() or {}
            if found := {name: errors for name, errors in error.error_dict.items() if not self._keeps(name, stored)}:
                raise ValidationError(found) from None

    def _keeps(self, name: str, stored: Mapping[str, Any]) -> bool:
        """Whether the field's value is as it is stored; of topics, whether those that are not stored are valid."""
        if name not in stored:
            return False
        value, former = getattr(self, name), stored[name]
        if name != "topics" or not isinstance(value, list) or not value:
            return bool(value == former)
        new = [pattern for pattern in value if pattern not in former]
        try:
            if new:
                validate_topics(new)
        except ValidationError:
            return False
        return True

    def delete(self, *_arguments: Any, **_options: Any) -> tuple[int, dict[str, int]]:
        """See SubscriptionQuerySet.delete."""
        return Subscription.objects.filter(pk=self.pk).delete()

    def wants(self, topic: str, *, store: str, at: datetime) -> bool:
        """Whether an event of that topic and store at that time goes to this subscription, whatever its state."""
        return self.is_for_store(store) and self.was_there(at) and topics.matches(self.topics, topic)

    def is_for_store(self, store: str) -> bool:
        return self.store in ("", store)

    def was_there(self, at: datetime) -> bool:
        """Whether it had subscribed by then, as far as clocks can tell."""
        return self.created_at <= at + CLOCK_SKEW

    @sensitive_variables()
    def live_secrets(self, *, now: datetime) -> list[str]:
        """The signing secrets in force, newest first, MOST_SECRETS at most. Raises secrets.UndecryptableError."""
        rows = self.secrets.all()  # prefetched by the sender
        live = [row for row in rows if row.expires_at is None or row.expires_at > now]
        return [row.reveal() for row in sorted(live, key=lambda row: row.pk, reverse=True)[:MOST_SECRETS]]

    @sensitive_variables("shown")
    def reveal_secrets(self, *, by: str, now: datetime) -> list[str]:
        """The signing secrets in force, newest first, for a person to see; the log `orderhooks` keeps who it was.

        Raises secrets.UndecryptableError.
        """
        shown = self.live_secrets(now=now)
        logger.warning("secrets revealed subscription=%s by=%r", self.public_id, by)
        return shown

    @sensitive_variables()
    def own_headers(self) -> dict[str, str]:
        """The headers that it adds to its requests, in the clear. Raises secrets.UndecryptableError."""
        return {name: value.reveal() for name, value in self.headers.items()}

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
            subscription=self,
            encrypted=secrets.encrypt(secret, Purpose.SIGNING_SECRET),
            public_key=signing.public_key(secret),
        )
        return row, secret

    @sensitive_variables()
    def rotate_secret(self, *, now: datetime, overlap: timedelta = OVERLAP) -> str:
        """Make a new secret and return it, shown this once. Those in force sign beside it for `overlap` at most.

        No overlap revokes them now. Of more than MOST_SECRETS the oldest are revoked: a rotation is never refused, as a
        secret that leaked has to go.
        """
        with transaction.atomic(using=Subscription.objects.db):
            # One rotation after the other: each leaves but one secret without an end.
            self._lock()
            self._end_secrets(self.secrets.all(), now=now, at=now + overlap)
            oldest = self.secrets.order_by("-pk").values_list("pk", flat=True)[MOST_SECRETS - 1 :]
            if keys := list(oldest):
                logger.warning("secrets revoked subscription=%s: more than %d", self.public_id, MOST_SECRETS)
                self._end_secrets(self.secrets.filter(pk__in=keys), now=now, at=now)
            return self.add_secret()

    def revoke_former_secrets(self, *, now: datetime) -> int:
        """End the overlap: from now on the newest secret alone signs. Returns how many were revoked."""
        with transaction.atomic(using=Subscription.objects.db):
            self._lock()
            newest = self.secrets.order_by("-pk").values_list("pk", flat=True).first()
            return self._end_secrets(self.secrets.exclude(pk__in=[newest]), now=now, at=now)

    def _lock(self) -> None:
        # Not against references to it where the database knows the difference: events are routed meanwhile.
        no_key = connections[Subscription.objects.db].features.has_select_for_no_key_update
        Subscription.objects.select_for_update(no_key=no_key).get(pk=self.pk)

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
        cls, *, headers: Mapping[str, str | Sealed] | None = None, secret: str = "", **fields: object
    ) -> tuple["Subscription", str]:
        """A new subscription and its first signing secret, in one transaction.

        `secret` is one that the receiver has already; blank: one is made. Raises ValidationError for what the admin and
        the API would refuse too: see `save`.
        """
        sealed = seal(headers or {})
        # By the clock that tells when events occurred.
        fields.setdefault("created_at", DatabaseClock().now())
        subscription = cls(headers=sealed, **fields)
        subscription.given_secret = secret
        subscription.save(force_insert=True)
        return subscription, subscription.new_secret

    @property
    def attempt_seconds(self) -> float:
        """How long one attempt may take: its own limit, or the setting's."""
        return self.timeout_seconds or conf.current().timeout_seconds

    @property
    def is_limited(self) -> bool:
        """Whether all workers together have to keep to a limit."""
        return self.max_in_flight is not None or self.max_per_second is not None or self.ramp is not None

    def room(self, in_flight: int, *, by_hand: bool, now: datetime) -> int:
        """How many more requests may go out now, beside those in flight. What a person asked for need not cool."""
        limits = [NO_LIMIT]
        if self.max_in_flight is not None:
            limits.append(self.max_in_flight - in_flight)
        if self.ramp is not None and not by_hand:
            cooling = self.cooling_until is not None and self.cooling_until > now
            limits.append(0 if cooling else self.ramp - in_flight)
        if self.max_per_second is not None:
            # GCRA, the leaky bucket of ATM (ITU-T I.371): `paced_until` moves on by a step with each request.
            burst = max(1.0, self.max_per_second * BURST_SECONDS)
            ahead = max(0.0, (self.paced_until - now).total_seconds()) if self.paced_until else 0.0
            limits.append(int(burst - ahead * self.max_per_second + 1e-6))
        return max(0, min(limits))

    def spend(self, requests: int, *, now: datetime) -> None:
        """Note on the locked row that so many requests go out."""
        if self.max_per_second is None or not requests:
            return
        start = max(self.paced_until, now) if self.paced_until else now
        self.paced_until = start + timedelta(seconds=requests / self.max_per_second)
        self.save(update_fields=["paced_until"])

    def note_success(self, *, now: datetime, count: int = 1) -> bool:
        """The endpoint answered 2xx. True if it had been failing before. To be saved."""
        failing = self.consecutive_failures > 0
        self.last_success_at = now
        if failing:
            self.recovered_at = now
        self.consecutive_failures, self.failing_since = 0, None
        self.cooling_until, self.coolings = None, 0
        if self.ramp is not None:
            # Each success lets one more out: doubled with every round, as TCP's slow start does.
            self.ramp = self.ramp + count if self.ramp + count <= RAMP_TOP else None
        return failing

    def note_failure(
        self, *, now: datetime, count: int = 1, detail: str = "", kind: str = "", status: int | None = None
    ) -> None:
        """The endpoint failed attempts; `detail`, `kind` and `status` tell of the last one. To be saved."""
        self.consecutive_failures += count
        self.failing_since = self.failing_since or now
        self.last_failure, self.last_failure_at = detail[:500], now
        # What is not a status of HTTP comes from a broken answer, and does not fit the column.
        is_status = status is not None and 100 <= status <= 999
        self.last_failure_kind, self.last_failure_status = kind[:32], status if is_status else None

    def cool(self, *, now: datetime, dice: float, at_least_seconds: float = 0.0) -> None:
        """Let the endpoint rest, longer each time; then one probe goes first. To be saved. See Note [Cooling].

        `dice` is a number from 0 to 1 that spreads the rest by 20 % either way.
        """
        if self.cooling_until is None or self.cooling_until <= now:
            self.coolings = min(self.coolings + 1, 100)
        rest = min(COOLING_SECONDS * 2.0 ** (self.coolings - 1), LONGEST_COOLING_SECONDS) * (0.8 + 0.4 * dice)
        until = now + timedelta(seconds=max(rest, at_least_seconds))
        self.cooling_until = max(self.cooling_until, until) if self.cooling_until else until
        self.ramp = 1

    def has_failed_for(self, longer_than: timedelta, *, now: datetime) -> bool:
        """Whether it has done nothing but fail for that long."""
        return self.failing_since is not None and self.failing_since <= now - longer_than

    def disable(self, reason: str) -> bool:
        """Stop an active subscription's traffic. False if it was not active (any more). To be saved."""
        if self.state != self.State.ACTIVE:
            return False
        self.state, self.state_reason = self.State.DISABLED, reason
        return True
