"""Replays: what an operator wants sent again to a subscription, and how far it has got. `replaying` does the work."""

from dataclasses import dataclass
from datetime import datetime

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.db.indexes import PartialIndex
from orderhooks.models.deliveries import Delivery
from orderhooks.models.events import Event, EventQuerySet
from orderhooks.models.jobs import CANCELLED, RUNNING, Job, JobQuerySet

__all__ = ["EventRange", "Replay"]


@dataclass(frozen=True, slots=True)
class EventRange:
    """Events by their public ids, from behind `after` up to `up_to`; `is_last` if a replay ends there."""

    after: str
    up_to: str
    is_last: bool


class ReplayQuerySet(JobQuerySet["Replay"]):
    """See Note [One database]."""


class Replay(Job):
    """The events of a time, sent again to a subscription: those that it wants now, also from before it subscribed.

    # Note [Replays]
    It goes through the events by public id, which contains the time and has an index, so that neither a date nor a
    topic needs one of its own. The id reached is its cursor. The worker that moves it makes the batch before it due in
    the same transaction, so that two workers do none twice and one that dies leaves none out.
    """

    class State(models.TextChoices):
        RUNNING = RUNNING, _("running")
        CANCELLED = CANCELLED, _("cancelled")  # by an operator, on the way
        DONE = "done", _("done")  # all is sent or waits for its turn

    class Only(models.TextChoices):
        ALL = "all", _("everything")
        FAILED = "failed", _("only what failed")
        NEVER_SENT = "never_sent", _("only what was never sent")

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.replay_id
    )
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    topics = models.JSONField(_("topics"), default=list, blank=True)  # patterns; empty: all that the subscription wants
    only = models.CharField(_("what"), max_length=16, choices=Only, default=Only.ALL)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RUNNING)
    # How many deliveries were expected. If it is not exact, at least this many: not all of a long time is counted.
    total = models.PositiveIntegerField(default=0)
    total_is_exact = models.BooleanField(default=True)
    cursor = models.CharField(max_length=public_ids.MAX_LENGTH)

    objects = ReplayQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("replay")
        verbose_name_plural = _("replays")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["running", "cancelled", "done"]), name="orderhooks_replay_state"
            ),
            models.CheckConstraint(
                condition=Q(only__in=["all", "failed", "never_sent"]), name="orderhooks_replay_only"
            ),
            models.CheckConstraint(condition=Q(since__lt=F("until")), name="orderhooks_replay_range"),
            models.CheckConstraint(
                condition=Q(state="running") | Q(finished_at__isnull=False), name="orderhooks_replay_finished"
            ),
        ]
        indexes = [
            # Each pump's search for running replays, and nothing else.
            PartialIndex(fields=["id"], condition=Q(state="running"), name="orderhooks_replay_running"),
        ]

    def share_done(self) -> float:
        """How much of its time it has gone through, from 0 to 1."""
        if self.state == self.State.DONE:
            return 1.0
        reached = public_ids.time_of(self.cursor) - self.since
        return min(1.0, max(0.0, reached / (self.until - self.since)))

    def start(self) -> str:
        """The cursor to begin with."""
        return public_ids.earliest_at("evt_", self.since)

    def next_range(self, after: str, at_most: int) -> EventRange:
        """The next `at_most` events of its time after the public id `after`, whether it sends them or not."""
        end = public_ids.earliest_at("evt_", self.until)
        inside = Event.objects.filter(public_id__gt=after, public_id__lt=end).order_by("public_id")
        last = inside.values_list("public_id", flat=True)[at_most - 1 : at_most].first()
        return EventRange(after, last or end, is_last=last is None)

    def events(self, event_range: EventRange) -> EventQuerySet:
        """The events of a range that are of the topics and the store, whatever came of them before.

        Without those that merged into a later one, which carries their changes. What else the subscription chooses by:
        see `matching`.
        """
        merged_away = Delivery.objects.merged_away().filter(event=OuterRef("pk"), subscription=self.subscription_id)
        events = Event.objects.filter(
            public_id__gt=event_range.after,
            public_id__lte=event_range.up_to,
            routed_at__isnull=False,  # the others are about to be sent anyway
        )
        return events.about(self.topics or ["*"]).wanted_by(self.subscription).filter(~Exists(merged_away))

    def left(self, event_range: EventRange) -> EventQuerySet:
        """Those of the events that it would send now."""
        mine = Delivery.objects.filter(event=OuterRef("pk"), subscription=self.subscription_id)
        events = self.events(event_range)
        match self.only:
            case self.Only.FAILED:
                return events.filter(Exists(mine.filter(state=Delivery.State.FAILED)))
            case self.Only.NEVER_SENT:
                return events.filter(~Exists(mine.exclude(NEVER_BEGUN)))
            case _:
                return events.filter(~Exists(mine.filter(state__in=UNDER_WAY)))

    def missed(self, event_range: EventRange) -> EventQuerySet:
        """Those of the events that have not arrived, whatever the reason."""
        mine = Delivery.objects.filter(event=OuterRef("pk"), subscription=self.subscription_id)
        return self.events(event_range).filter(~Exists(mine.filter(state=Delivery.State.DELIVERED)))

    def rearms(self) -> Q:
        """Which deliveries become due again."""
        match self.only:
            case self.Only.FAILED:
                return Q(state=Delivery.State.FAILED)
            case self.Only.NEVER_SENT:
                return NEVER_BEGUN
            case _:
                return ~Q(state__in=UNDER_WAY)

    def advance(self, event_range: EventRange, *, now: datetime) -> bool:
        """Take the event_range for the running transaction. False if another worker has, or it was cancelled."""
        values: dict[str, object] = {"cursor": event_range.up_to}
        if event_range.is_last:
            values |= {"state": self.State.DONE, "finished_at": now}
        mine = Replay.objects.filter(pk=self.pk, state=self.State.RUNNING, cursor=event_range.after)
        return mine.update(**values) == 1


UNDER_WAY = [Delivery.State.PENDING, Delivery.State.SENDING]
# Skipped before its first attempt.
NEVER_BEGUN = Q(state=Delivery.State.SKIPPED, attempts_made=0)
