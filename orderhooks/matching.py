"""Matching: whether a subscription wants an event, and if not, why. For routing, replays, backfills and reports."""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orderhooks import expressions, selection, shaping, transport
from orderhooks.db.encrypted_records import UnreadableRecord
from orderhooks.expressions import EvaluationError, ExpressionError
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.payloads import REDACTED
from orderhooks.shaping import ShapingError

__all__ = ["Matcher", "Mismatch", "Verdict", "new_delivery", "require_wanted", "wanted"]

# The kinds of outcome of a delivery whose event the filter can't judge.
FILTER_ERROR = "filter"
VERSION_ERROR = "version"
KEY_ERROR = "key"
# What it needs of a subscription, and of an event.
CHOICES = ("public_id", "operational", "store", "topics", "changed_fields", "filter", "api_version", "created_at")
FIELDS = (
    "sequence",
    "public_id",
    "topic",
    "source",
    "order_pk",
    "store",
    "payload",
    "changes",
    "occurred_at",
    "only_for",
    "api_version",
)


class Mismatch(enum.Enum):
    """Why a subscription does not get an event."""

    ONE_ONLY = enum.auto()  # a backfill made it for another subscription, or an operator by hand
    OTHER_STORE = enum.auto()
    TOPIC = enum.auto()
    TOO_EARLY = enum.auto()  # it happened before the subscription was there
    UNTOUCHED = enum.auto()  # an update of other fields than those that it names
    FILTERED = enum.auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription wants an event: if `mismatch` is None. `error`: why its filter can't judge the event, and
    `kind` what such a delivery's outcome is called.
    """

    mismatch: Mismatch | None = None
    error: str = ""
    kind: str = FILTER_ERROR

    @property
    def is_wanted(self) -> bool:
        return self.mismatch is None and not self.error


WANTED = Verdict()


class Matcher:
    """Judges events, one after the other, for many subscriptions. A filter that several have is evaluated once."""

    def __init__(self) -> None:
        self._watched: dict[str, selection.Watched] = {}
        self._misfits: dict[tuple[str, str, str], str] = {}
        self._event: Event | None = None
        # Of the event that is judged: the body by the version, and the verdicts by the version and the filter.
        self._bodies: dict[str, Any] = {}
        self._filtered: dict[tuple[str, str], Verdict] = {}

    def judge(self, event: Event, subscription: Subscription) -> Verdict:
        """By everything that routing goes by: its only subscription, store, topic, time, fields, filter."""
        if event.only_for not in (None, subscription.pk):
            return Verdict(Mismatch.ONE_ONLY)
        if not subscription.is_for_store(event.store):
            return Verdict(Mismatch.OTHER_STORE)
        if not subscription.takes(event.topic) or subscription.is_subject_of(event):
            return Verdict(Mismatch.TOPIC)
        if not subscription.was_there(event.occurred_at):
            return Verdict(Mismatch.TOO_EARLY)
        return self.select(event, subscription)

    def select(self, event: Event, subscription: Subscription) -> Verdict:
        """By the fields that it names and its filter alone. `order.redacted` goes to all of its topic."""
        if event.topic == REDACTED:
            return WANTED
        if subscription.changed_fields and event.topic == "order.updated":
            changes = _changes(event)
            if isinstance(changes, UnreadableRecord):
                return Verdict(error=changes.reason, kind=KEY_ERROR)
            if event.source not in self._watched:
                self._watched[event.source] = selection.watched_by(event.source)
            if not selection.is_touched(changes, subscription.changed_fields, self._watched[event.source]):
                return Verdict(Mismatch.UNTOUCHED)
        return self.filter(event, subscription) if subscription.filter else WANTED

    def filter(self, event: Event, subscription: Subscription) -> Verdict:
        """By its filter alone."""
        if event is not self._event:
            self._event, self._bodies, self._filtered = event, {}, {}
        version = subscription.api_version
        key = (version, subscription.filter)
        if event.api_version < version and (why := self._misfit(event, subscription.filter)):
            return Verdict(error=why, kind=VERSION_ERROR)
        if key not in self._filtered:
            try:
                if version not in self._bodies:
                    self._bodies[version] = shaping.envelope(event, version)
                self._filtered[key] = _evaluated(subscription.filter, self._bodies[version])
            except ShapingError as error:
                self._filtered[key] = Verdict(error=str(error), kind=error.kind)
        return self._filtered[key]

    def _misfit(self, event: Event, filter: str) -> str:
        """Why a filter can't read an event that was made in an older version. Blank if it can."""
        key = (filter, event.topic, event.api_version)
        if key not in self._misfits:
            why = selection.misfit(*key)
            text = f"The event was made in version {event.api_version}, which the filter does not fit: {why}"
            self._misfits[key] = text if why else ""
        return self._misfits[key]

    def deciding_values(self, event: Event, subscription: Subscription) -> str:
        """The values for which the filter leaves the event out. Blank if none do. For users who may see payloads."""
        try:
            expression = expressions.compiled(subscription.filter)
            return expressions.deciding_values(expression, shaping.envelope(event, subscription.api_version))
        except (ExpressionError, EvaluationError, ShapingError):
            return ""


def _changes(event: Event) -> Any:
    """They are in the payload too, which is all that sending reads of an event."""
    if "changes" not in event.get_deferred_fields():
        return event.changes
    return event.payload if isinstance(event.payload, UnreadableRecord) else (event.payload or {}).get("changes", {})


def _evaluated(text: str, body: Any) -> Verdict:
    try:
        value = expressions.compiled(text).evaluate(body)
    except (ExpressionError, EvaluationError) as error:
        return Verdict(error=f"The filter can't judge this event: {str(error).rstrip('.')}.")
    return WANTED if expressions.is_true(value) else Verdict(Mismatch.FILTERED)


def wanted(events: Iterable[Event], subscription: Subscription) -> Iterator[Event]:
    """Those of the events, which are of its topics and its store, that it selects; also those that its filter can't
    judge.
    """
    matcher = Matcher()
    return (event for event in events if matcher.select(event, subscription).mismatch is None)


def new_delivery(verdict: Verdict, **fields: Any) -> Delivery:
    """A delivery, not saved. If the filter can't judge its event, its attempts judge again: `require_wanted`."""
    if verdict.error:
        fields |= {"is_unjudged": True, "last_error": verdict.kind, "last_detail": verdict.error[:500]}
    return Delivery(**fields)


def require_wanted(delivery: Delivery) -> None:
    """Judge the event of a delivery again whose subscription could not judge it so far. Others were judged by routing.

    Raises:
        ShapingError: it still can't be judged, or it is left out (kind `transport.FILTERED`).
    """
    if not delivery.is_unjudged:
        return
    verdict = Matcher().select(delivery.event, delivery.subscription)
    if verdict.error:
        raise ShapingError(verdict.error, kind=verdict.kind)
    if verdict.mismatch is Mismatch.UNTOUCHED:
        raise ShapingError("It changes none of the fields that the subscription names.", kind=transport.FILTERED)
    if not verdict.is_wanted:
        raise ShapingError("By now the subscription's filter leaves the event out.", kind=transport.FILTERED)
