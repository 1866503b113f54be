"""Subscriptions: the endpoints, the topics that they get, and how deliveries to them have gone."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import OperationalError, connections, models, router, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf, encryption, signing, topics, versions
from orderhooks.db import public_ids
from orderhooks.db.clock import DatabaseClock
from orderhooks.db.encrypted_fields import SealedHeadersField, seal
from orderhooks.db.locks import is_lock_timeout, one_at_a_time
from orderhooks.encryption import Sealed
from orderhooks.models.alarm_states import HasAlarmStates
from orderhooks.models.circuit_breaker import HasCircuitBreaker
from orderhooks.models.configuration import (
    HIGHEST_SHARE,
    LONGEST_OBJECTIVE_SECONDS,
    LONGEST_TIMEOUT_SECONDS,
    LONGEST_UPDATE_INTERVAL_SECONDS,
    LOWEST_SHARE,
    HasConfiguration,
)
from orderhooks.models.consent import HasConsent
from orderhooks.models.header_hosts import LOGINS, HasHeaders
from orderhooks.models.logins import HasLogins
from orderhooks.models.signing_secrets import HasSigningSecrets, Reencrypted, SubscriptionSecret

# Hosts' clocks differ a little; an event too many is better than one that is lost.
CLOCK_SKEW = timedelta(seconds=5)
DELETE_TRIES = 5
# What decides of what shape bodies are.
WHAT = frozenset({"filter", "projection", "format", "api_version"})
# What decides when updates are sent.
WHEN = frozenset({"ordered", "update_interval_seconds"})
# The columns whose values are sealed.
SEALED = ("headers", *LOGINS)


class AmbiguousNameError(LookupError):
    """Several subscriptions have a name that should identify one. `public_ids` are theirs; the text says what to do."""

    def __init__(self, public_ids: list[str]) -> None:
        self.public_ids = public_ids
        ids = ", ".join(public_ids)
        super().__init__(f"{len(public_ids)} subscriptions have this name: {ids}. Rename all but one.")


def declaration_lock(*names: str) -> AbstractContextManager[None]:
    """A transaction in which no other process declares subscriptions of these names, so that none is made twice."""
    return one_at_a_time(Subscription.objects.db, *(f"subscription {name}" for name in names))


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def of_stores(self, stores: Collection[str] | None, *, operational: bool = True) -> "SubscriptionQuerySet":
        """Those to one of these stores. None: all, also those to the orders of all stores. `operational`: these too."""
        found = self.all() if stores is None else self.filter(store__in=stores)
        return found if operational else found.filter(operational=False)

    def operational_keys(self) -> list[int]:
        """The primary keys of the operational ones, which are few."""
        return list(self.filter(operational=True).values_list("pk", flat=True))

    def named(self, name: str) -> "Subscription | None":
        """The one that has exactly this name. Raises AmbiguousNameError."""
        if "\x00" in name:
            return None  # PostgreSQL raises an error for it
        # Some databases compare names without regard to case or accents.
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
            one.require_compatible_login()
            one.require_compatible_format()
            one.require_valid_secret()
            one.keep_expiry()
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

    def seen_by_owner(self, owner: Any) -> "SubscriptionQuerySet":
        """Those of a user who may not manage all. Operational ones show the endpoints of others."""
        return self.filter(owner=owner, operational=False)

    def behind(self) -> "SubscriptionQuerySet":
        """Those that are pinned to a version of the body that is not the newest."""
        return self.exclude(api_version=versions.newest())

    def pause(self) -> int:
        """Hold deliveries until somebody resumes. Returns how many were not paused before."""
        chosen = self._chosen().exclude(state=Subscription.State.PAUSED)
        return chosen.update(state=Subscription.State.PAUSED, state_reason="")

    def resume(self) -> int:
        """Send again, and reset the failures: otherwise the next one would disable it at once. Returns how many."""
        chosen = self._chosen().exclude(state=Subscription.State.ACTIVE)
        return chosen.update(state=Subscription.State.ACTIVE, state_reason="", **Subscription.CLOSED)

    def resume_disabled(self) -> int:
        """As `resume`, only those that orderhooks has disabled, also if an operator pauses one meanwhile."""
        disabled = self.filter(state=Subscription.State.DISABLED)
        return disabled.update(state=Subscription.State.ACTIVE, state_reason="", **Subscription.CLOSED)

    def longest_timeout_seconds(self) -> float:
        """How long an attempt to any of them may take."""
        own = self.aggregate(longest=Max("timeout_seconds"))["longest"] or 0
        return max(float(own), conf.current().timeout_seconds)

    def reencrypt(self) -> "Reencrypted":
        """Re-encrypt the headers' values and the secrets of logins with the newest key."""
        done, unreadable = 0, []
        for pk in self.exclude(**{column: {} for column in SEALED}).values_list("pk", flat=True).iterator():
            with transaction.atomic(using=self.db):
                row = self.model.objects.select_for_update().filter(pk=pk).first()
                if row is None:
                    continue  # deleted meanwhile
                try:
                    new = {
                        column: {
                            name: value.reencrypted() if isinstance(value, Sealed) else value
                            for name, value in getattr(row, column).items()
                        }
                        for column in SEALED
                    }
                except encryption.UndecryptableError:
                    unreadable.append(row.public_id)
                    continue
                changed = [column for column, value in new.items() if value != getattr(row, column)]
                if changed:
                    for column in changed:
                        setattr(row, column, new[column])
                    row.save(update_fields=changed)
                    done += 1
        return Reencrypted(done, tuple(unreadable))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them with their deliveries and attempts, of which there may be a million.

        What is under way is called off first, and new events wait for the subscription's lock. Returns what was
        deleted, without the deliveries and attempts.
        """
        for _try in range(DELETE_TRIES - 1):
            try:
                return self._delete()
            except OperationalError as error:
                # MariaDB resolves a deadlock by ending a transaction; one that the caller has begun ends with it.
                if connections[self.db].in_atomic_block or not is_lock_timeout(error):
                    raise
        return self._delete()

    def _delete(self) -> tuple[int, dict[str, int]]:
        deliveries, attempts = apps.get_model("orderhooks.Delivery"), apps.get_model("orderhooks.Attempt")
        with transaction.atomic(using=self.db):
            keys = list(self._chosen().order_by("pk").values_list("pk", flat=True))
            theirs = deliveries.objects.filter(subscription__in=keys)
            # Deliveries first, as workers do it: on MariaDB an update of a delivery locks its subscription after it.
            theirs.call_off()
            list(Subscription.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))
            theirs.call_off()  # what was routed meanwhile
            attempts.objects.filter(delivery__subscription__in=keys).delete()
            # Django would read each of them first.
            theirs._raw_delete(self.db)
            return models.QuerySet.delete(Subscription.objects.filter(pk__in=keys))

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _chosen(self) -> "SubscriptionQuerySet":
        # By key: the caller's list may be filtered by the very state that changes, sliced or ordered.
        return Subscription.objects.filter(pk__in=list(self.values_list("pk", flat=True)))


class Subscription(
    HasConfiguration, HasHeaders, HasLogins, HasSigningSecrets, HasConsent, HasCircuitBreaker, HasAlarmStates
):
    """An endpoint URL and the topics it wants."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        # By an operator; its deliveries are held.
        PAUSED = "paused", _("paused")
        # By orderhooks, for the reason in `state_reason`; its deliveries are held.
        DISABLED = "disabled", _("disabled")

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.subscription_id
    )
    headers = SealedHeadersField(_("headers"), default=dict, blank=True)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.ACTIVE)
    state_reason = models.CharField(_("reason"), max_length=200, blank=True)
    # Why a delivery could not be made: its filter, projection, format or version failed. Blank once that was changed.
    last_unsent = models.CharField(max_length=500, blank=True, editable=False)
    last_unsent_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SubscriptionQuerySet.as_manager()

    # What attempts change, and people do not.
    HEALTH = ("state", "state_reason", "last_unsent", "last_unsent_at", *HasCircuitBreaker.RECORDED)

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
                condition=Q(signature__in=list(signing.PROFILES)),
                name="orderhooks_subscription_signature",
            ),
            models.CheckConstraint(
                condition=Q(last_notified_state__in=["healthy", "failing", "disabling_soon", "disabled"]),
                name="orderhooks_subscription_last_notified_state",
            ),
            models.CheckConstraint(
                condition=Q(last_alarmed_state__in=["healthy", "failing", "disabling_soon", "disabled"]),
                name="orderhooks_subscription_last_alarmed_state",
            ),
            models.CheckConstraint(
                condition=Q(operational=False) | Q(store=""), name="orderhooks_subscription_operational"
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
                condition=Q(update_interval_seconds__isnull=True)
                | Q(update_interval_seconds__range=(1, LONGEST_UPDATE_INTERVAL_SECONDS)),
                name="orderhooks_subscription_update_interval",
            ),
            models.CheckConstraint(
                condition=Q(timeout_seconds__isnull=True) | Q(timeout_seconds__range=(1, LONGEST_TIMEOUT_SECONDS)),
                name="orderhooks_subscription_timeout",
            ),
            models.CheckConstraint(
                condition=Q(objective_seconds__isnull=True)
                | Q(objective_seconds__range=(1, LONGEST_OBJECTIVE_SECONDS)),
                name="orderhooks_subscription_objective_seconds",
            ),
            models.CheckConstraint(
                condition=Q(objective_share__range=(LOWEST_SHARE, HIGHEST_SHARE)),
                name="orderhooks_subscription_objective_share",
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
        self.require_compatible_login(options.get("update_fields"))
        self.require_compatible_format(options.get("update_fields"))
        using = options.get("using") or router.db_for_write(Subscription, instance=self)
        if self._state.adding:
            self.require_valid_secret()
            with transaction.atomic(using=using):
                super().save(*arguments, **options)
                self.new_secret, self.given_secret = self.add_secret(self.given_secret), ""
            return
        written = options.get("update_fields")
        choices = (WHAT | WHEN) if written is None else (WHAT | WHEN) & set(written)
        if not choices:
            super().save(*arguments, **options)
            return
        with transaction.atomic(using=using):
            former = Subscription.objects.filter(pk=self.pk).values(*choices).first() or {}
            changed = {name for name, value in former.items() if value != getattr(self, name)}
            if WHAT & changed:
                # What failed may have been repaired.
                self.last_unsent, self.last_unsent_at = "", None
                if written is not None:
                    options["update_fields"] = {*written, "last_unsent", "last_unsent_at"}
            super().save(*arguments, **options)
            if WHEN & changed:
                # By the new choice, other updates may wait, or for another time.
                deliveries = apps.get_model("orderhooks.Delivery").objects.filter(subscription=self)
                deliveries.end_interval(now=DatabaseClock().now())

    def delete(self, *_arguments: Any, **_options: Any) -> tuple[int, dict[str, int]]:
        """See SubscriptionQuerySet.delete."""
        return Subscription.objects.filter(pk=self.pk).delete()

    def wants(self, topic: str, *, store: str, at: datetime) -> bool:
        """Whether it wants events of that topic, store and time, whatever its state. See also `is_selective`."""
        return self.is_for_store(store) and self.was_there(at) and self.takes(topic)

    def takes(self, topic: str) -> bool:
        """Whether the topic is one of its own, and of its kind: operational or about orders."""
        return topics.of_kind(topic, is_operational=self.operational) and topics.matches(self.topics, topic)

    def is_subject_of(self, event: Any) -> bool:
        """Whether the event is an alarm about this very subscription, which would feed itself."""
        return self.operational and bool(event.order_pk == self.public_id)

    @property
    def is_selective(self) -> bool:
        """Whether it chooses by what an event holds, beside its topic and its store. `matching` does."""
        return bool(self.changed_fields or self.filter)

    def is_for_store(self, store: str) -> bool:
        return self.store in ("", store)

    def was_there(self, at: datetime) -> bool:
        """Whether it had subscribed by then. Clocks may differ a little."""
        return self.created_at <= at + CLOCK_SKEW

    @sensitive_variables()
    def own_headers(self) -> dict[str, str]:
        """The headers that it adds to its requests, in the clear. Raises encryption.UndecryptableError."""
        return {name: value.reveal() for name, value in self.headers.items()}

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
        # By the same clock as the times of events.
        fields.setdefault("created_at", DatabaseClock().now())
        subscription = cls(headers=sealed, **fields)
        subscription.given_secret = secret
        subscription.save(force_insert=True)
        return subscription, subscription.new_secret

    @property
    def is_behind(self) -> bool:
        """Whether it is pinned to a version of the body that is not the newest."""
        return self.api_version != versions.newest()

    @property
    def is_limited(self) -> bool:
        """Whether all workers together have to keep to a limit."""
        return self.is_paced or self.slow_start_limit is not None

    def capacity(self, in_flight: int, *, by_hand: bool, now: datetime) -> int:
        """How many more requests may go out now. An open circuit stops only automatic ones."""
        limits = [self.pace_capacity(in_flight, now=now)]
        circuit = self.circuit_capacity(in_flight, now=now)
        if circuit is not None and not by_hand:
            limits.append(circuit)
        return max(0, min(limits))

    def disable(self, reason: str) -> bool:
        """Stop an active subscription's traffic. False if it was not active (any more). To be saved."""
        if self.state != self.State.ACTIVE:
            return False
        self.state, self.state_reason = self.State.DISABLED, reason
        return True
