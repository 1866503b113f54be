"""The backlog: what waits, over all subscriptions, counted and in words."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orderhooks.models import Change, Delivery, Event
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import span_text

__all__ = ["MOST_WAITING", "Backlog", "backlog_text", "current_backlog"]

MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, over all subscriptions. Each count is `at_most` + 1 if there is more.

    `waiting`: deliveries to be sent; `oldest`: the oldest of them. `unrouted`: events that no worker has turned into
    deliveries yet; `uncoalesced`: changes of orders that are no events yet.
    `since`: since when the oldest of all has waited; `new_since`: the oldest of the events and changes.
    """

    waiting: int
    oldest: Delivery | None
    unrouted: int = 0
    uncoalesced: int = 0
    since: datetime | None = None
    new_since: datetime | None = None

    @property
    def total(self) -> int:
        """All that waits, of whatever kind."""
        return self.waiting + self.unrouted + self.uncoalesced

    @property
    def new(self) -> "Backlog":
        """Without the deliveries: the events and changes that no worker has taken up."""
        return replace(self, waiting=0, oldest=None, since=self.new_since)


def current_backlog(*, at_most: int, stores: Collection[str] | None = None, alarms: bool = True) -> Backlog:
    """Six queries; the oldest delivery comes with its subscription.

    `stores`: only what belongs to these stores; None for all. The store of a change is known only once it is an event:
    with `stores` changes are not counted. `alarms`: those too.
    """
    pending = Delivery.objects.of_stores(stores, alarms=alarms).filter(state=Delivery.State.PENDING)
    oldest = pending.select_related("subscription").order_by("id").first()
    unrouted = Event.objects.of_stores(stores, alarms=alarms).unrouted()
    changes = (Change.objects.all() if stores is None else Change.objects.none()).order_by("created_at")
    new_since = _earliest(
        unrouted.values_list("published_at", flat=True).first(), changes.values_list("created_at", flat=True).first()
    )
    return Backlog(
        waiting=pending.order_by()[: at_most + 1].count(),
        oldest=oldest,
        unrouted=unrouted.order_by()[: at_most + 1].count(),
        uncoalesced=changes.order_by()[: at_most + 1].count(),
        since=_earliest(oldest.created_at if oldest else None, new_since),
        new_since=new_since,
    )


def _earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def backlog_text(waiting: Backlog, *, now: datetime) -> str:
    """What waits, and for how long: `2 deliveries and 3 new events wait to be sent, the oldest for 4 min.`

    New events are those that no worker has given to the subscriptions yet.
    """
    if not waiting.total:
        return _("Nothing waits to be sent.")
    parts = [
        words % {"count": count_text(count, bound=MOST_WAITING)}
        for count, words in (
            (waiting.waiting, ngettext("%(count)s delivery", "%(count)s deliveries", waiting.waiting)),
            (waiting.unrouted, ngettext("%(count)s new event", "%(count)s new events", waiting.unrouted)),
            (waiting.uncoalesced, ngettext("%(count)s new change", "%(count)s new changes", waiting.uncoalesced)),
        )
        if count
    ]
    sentence = ngettext(
        "%(what)s waits to be sent, the oldest for %(span)s.",
        "%(what)s wait to be sent, the oldest for %(span)s.",
        waiting.total,
    )
    span = span_text(now - waiting.since) if waiting.since else _("0 s")
    return sentence % {"what": _join(parts), "span": span}


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {_('and')} {parts[-1]}"
