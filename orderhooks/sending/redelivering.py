"""Redelivering: which attempts a redelivery would cause. The admin says so before it happens."""

from dataclasses import dataclass
from datetime import datetime

from orderhooks import conf
from orderhooks.models import Delivery

__all__ = ["Redelivery", "redelivery_of"]


@dataclass(frozen=True, slots=True)
class Redelivery:
    """One attempt at once, and what follows if it fails.

    `automatic_left` attempts by the retry table: from its beginning if it `begins_anew`, otherwise as they were
    planned before, the next one at `next_automatic_at`.
    """

    automatic_left: int
    begins_anew: bool
    next_automatic_at: datetime | None


def redelivery_of(delivery: Delivery) -> Redelivery:
    """What redelivering it would give by the retry table in force. No query."""
    waits = len(conf.current().retry_schedule)
    by_hand = delivery.trigger == Delivery.Trigger.MANUAL
    planned = delivery.planned_at if by_hand else delivery.next_attempt_at
    if delivery.state != Delivery.State.PENDING or planned is None:
        return Redelivery(automatic_left=waits, begins_anew=True, next_automatic_at=None)
    return Redelivery(max(0, waits + 1 - delivery.table_attempts), begins_anew=False, next_automatic_at=planned)
