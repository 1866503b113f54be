"""Alarms as receivers get them, with types."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orderhooks.receiver.values import Fields, a_str, a_time_or_none, an_int, read_fields, read_rows, typed

__all__ = ["AlarmedSubscription", "ReceivedAlarm", "UnknownAlarmShapeError"]


class UnknownAlarmShapeError(ValueError):
    """The event is no alarm, or lacks a member of one."""


@dataclass(frozen=True, slots=True)
class AlarmedSubscription:
    """A subscription that an alarm is about. `disabled_at`: when it will be disabled unless an attempt succeeds.

    `url` is its page in the sender's admin, None if the sender has no BASE_URL. `waiting` is 10001 if there are more.
    """

    id: str
    name: str
    store: str
    state: str
    failing_since: datetime | None
    disabled_at: datetime | None
    waiting: int
    url: str | None


@dataclass(frozen=True, slots=True)
class ReceivedAlarm:
    """What an operational event says. `count` is how many subscriptions it is about; `subscriptions` has the first 20.

    `subscription` is the one that it is about, None if there are several or none. `source` is the order source of
    `source.unseen`. `waiting` counts deliveries, 10001 if there are more.
    """

    message: str
    subscription: AlarmedSubscription | None
    subscriptions: tuple[AlarmedSubscription, ...]
    count: int
    source: str
    since: datetime | None
    waiting: int
    url: str | None

    @classmethod
    def from_data(cls, data: Any) -> "ReceivedAlarm":
        """The alarm in an event's `data`. Raises UnknownAlarmShapeError if it is none."""
        try:
            return cls(**read_fields(data, ALARM))
        except (TypeError, ValueError) as error:
            raise UnknownAlarmShapeError(f"The event is not an alarm ({error}).") from error


def _url_or_none(value: Any) -> str | None:
    return None if value is None or value == "" else typed(str, value)


def _alarmed_or_none(value: Any) -> AlarmedSubscription | None:
    return None if value is None or value == "" else AlarmedSubscription(**read_fields(value, ALARMED_SUBSCRIPTION))


ALARMED_SUBSCRIPTION: Fields = {
    **dict.fromkeys(("id", "name", "store", "state"), a_str),
    **dict.fromkeys(("failing_since", "disabled_at"), a_time_or_none),
    "waiting": an_int,
    "url": _url_or_none,
}
ALARM: Fields = {
    **dict.fromkeys(("message", "source"), a_str),
    "subscription": _alarmed_or_none,
    "subscriptions": lambda value: read_rows(AlarmedSubscription, value, ALARMED_SUBSCRIPTION),
    **dict.fromkeys(("count", "waiting"), an_int),
    "since": a_time_or_none,
    "url": _url_or_none,
}
