"""A "did you mean" is given where the name is close to one that is known, and not where it is far-fetched."""

import pytest

from orderhooks import conf, spelling, topics

COLUMNS = ("id", "reference", "state", "number", "total", "placed_at", "deliveries")
TOPICS = [topic.name for topic in topics.BUILT_IN]


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("refrence", COLUMNS, "reference"),
        ("stat", COLUMNS, "state"),
        ("status", COLUMNS, "state"),
        ("sate", COLUMNS, "state"),
        ("eference", COLUMNS, "reference"),
        ("placed", COLUMNS, "placed_at"),
        ("delivery", COLUMNS, "deliveries"),
        ("date", COLUMNS, None),
        ("user", COLUMNS, None),
        ("", COLUMNS, None),
        ("order.payed", TOPICS, "order.paid"),
        ("oder.paid", TOPICS, "order.paid"),
        ("order.canceled", TOPICS, "order.cancelled"),
        ("order.foo", TOPICS, None),
        ("order.shipped", TOPICS, None),
        ("order.complete", TOPICS, None),
        ("warehouse_events.picked", ["warehouse_events.lost"], None),
        ("oder.*", ["order.*", "webhook.*"], "order.*"),
        ("TIMEOUT_SECOND", conf.KEYS, "TIMEOUT_SECONDS"),
        ("RATE", conf.KEYS, None),
    ],
)
def test_only_what_is_close_was_meant(name: str, known: list[str], meant: str | None) -> None:
    assert spelling.nearest(name, known) == meant
