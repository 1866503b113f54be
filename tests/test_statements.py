"""Each statement that is written out for PostgreSQL does what the form for any database does."""

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import sources
from orderhooks.db import DatabaseClock, json_rows, wakeup
from orderhooks.models import Attempt, Change, Delivery, Event, Order, Pump, Subscription
from orderhooks.models.pumps import FRESH
from orderhooks.outbox import coalescing, coalescing_postgresql, leasing, leasing_postgresql, taking, taking_postgresql
from orderhooks.outbox.composing import events_of
from orderhooks.outbox.reading import OrderRead, read_order
from orderhooks.routing import writing, writing_postgresql
from orderhooks.sending import claiming, claiming_postgresql, finishing, finishing_postgresql
from orderhooks.sending.claiming import DueSubscription
from orderhooks.sending.finishing import Result
from tests.factories import make_delivery, make_event, make_order, make_subscription

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="these statements are PostgreSQL's"),
]

NOW = timezone.now().replace(microsecond=0)
MINUTE = timedelta(minutes=1)
STATES = ["pending", "pending", "pending", "sending", "delivered", "failed", "skipped"]


def make_many(seed: int) -> None:
    """Deliveries in every state, of orders with several events each, some events not routed yet."""
    chance = random.Random(seed)
    subscriptions = [
        make_subscription(
            ordered=chance.random() < 0.5,
            state=chance.choice(["active", "active", "active", "paused"]),
            circuit_open_until=chance.choice([None, None, NOW - MINUTE, NOW + MINUTE]),
        )
        for _ in range(8)
    ]
    for number in range(60):
        event = make_event(order_pk=str(number % 7), routed_at=chance.choice([NOW, NOW, NOW, None]), published_at=NOW)
        for subscription in chance.sample(subscriptions, 4):
            state = chance.choice(STATES)
            make_delivery(
                event=event,
                subscription=subscription,
                state=state,
                trigger=chance.choice(["automatic", "automatic", "manual"]),
                planned_at=NOW,
                next_attempt_at=NOW + chance.randrange(-90, 30) * MINUTE if state == "pending" else None,
            )


def undone(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """What the function returns; what it wrote is undone."""
    with transaction.atomic():
        result = function(*arguments, **keywords)
        transaction.set_rollback(True)
    return result


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_due(seed: int, *, ordered: bool) -> None:
    make_many(seed)
    if not ordered:
        Subscription.objects.update(ordered=False)
    written_out = [(one.pk, trigger) for one, trigger in claiming_postgresql.due(now=NOW, at_most=claiming.AT_ONCE)]
    portable = [(one.subscription.pk, one.trigger) for one in claiming.due_portably(now=NOW)]
    assert len(portable) >= 5
    # Of those whose heads are equally old any may come first; and an ordered one's head may be a blocked delivery.
    assert sorted(written_out) == sorted(portable)
    assert [trigger for _pk, trigger in written_out] == [trigger for _pk, trigger in portable]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_claimed(seed: int, *, ordered: bool) -> None:
    make_many(seed)
    chance = random.Random(seed)
    due = [
        DueSubscription(one.subscription, one.trigger, capacity=chance.randrange(1, 6))
        for one in claiming.due(now=NOW)
        if ordered or not one.subscription.ordered
    ]

    def claimed(claim: Any) -> list[tuple[Any, ...]]:
        found = claim(due, now=NOW, lease_until=NOW + MINUTE)
        rows = Delivery.objects.filter(pk__in=[one.pk for one in found], lease_expires_at=NOW + MINUTE)
        assert rows.count() == len(found) == rows.exclude(lease_token=None).count()
        return sorted((one.pk, one.state, one.attempts_made, one.trigger, one.event_id) for one in found)

    portable = undone(claimed, claiming.claim_portably)
    assert portable
    assert undone(claimed, claiming_postgresql.claim) == portable


@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_written(seed: int) -> None:
    make_many(seed)
    chance = random.Random(seed)
    due = [DueSubscription(one.subscription, one.trigger, capacity=9) for one in claiming.due(now=NOW)]
    claimed = claiming.claim(due, now=NOW, lease_until=NOW + MINUTE)
    Delivery.objects.filter(pk__in=[one.pk for one in claimed[::3]]).update(
        lease_token=uuid.uuid4()
    )  # another's by now
    attempt = {
        "trigger": "automatic",
        "requested_by": "",
        "started_at": NOW,
        "duration_ms": 12,
        "method": "POST",
        "url": "https://example.com/",
        "status_code": None,
        "error": "timeout",
        "detail": "It did not answer \u00e4.",
        "request_headers": {"a": "b"},
        "response_headers": {},
        "response_body": "",
    }
    results = [
        Result(
            delivery=one,
            state=state,
            trigger="automatic",
            requested_by="",
            next_attempt_at=NOW + MINUTE if state == "pending" else None,
            uncounted_attempts=chance.randrange(3),
            finished_at=None if state == "pending" else NOW,
            last_status_code=chance.choice([None, 500]),
            last_error="timeout",
            last_detail="It did not answer.",
            due_by=NOW if state == "pending" else None,
            attempt=attempt,
        )
        for one in claimed
        for state in [chance.choice(["pending", "delivered", "failed"])]
    ]

    def written(finish: Any) -> tuple[Any, ...]:
        leases = finish(results)
        attempts = Attempt.objects.order_by("delivery", "number").values_list("delivery", "number", *attempt)
        return leases, list(Delivery.objects.order_by("pk").values()), list(attempts)

    portable = undone(written, finishing.finish_portably)
    assert 0 < len(portable[0]) < len(results)
    assert undone(written, finishing_postgresql.finish) == portable
    assert Event.objects.count() == 60


@pytest.mark.parametrize("characters", [1, 1500, 4_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_deliveries_are_made_of_events(seed: int, characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "CHARACTERS_AT_ONCE", characters)
    chance = random.Random(seed)
    subscriptions = [make_subscription(objective_seconds=chance.choice([None, 60])) for _ in range(4)]
    events = [make_event(routed_at=None) for _ in range(20)]
    at = timezone.now()
    make_delivery(event=events[0], subscription=subscriptions[0])
    decided: list[dict[str, Any]] = [
        {},
        {"is_unjudged": True, "last_error": "filter", "last_detail": 'The "filter" can\'t judge: \\ ä %s'},
        {"update_due_at": at + MINUTE, "merges_from": events[0].pk, "merged_changes": {"note": ["ä", None]}},
        {"state": "skipped", "next_attempt_at": None, "finished_at": at, "merges_from": events[0].pk},
    ]
    deliveries = [
        Delivery(
            event=event,
            subscription=subscription,
            due_by=subscription.due_by(at),
            **{"next_attempt_at": at, **chance.choice(decided)},
        )
        for event in events
        for subscription in chance.sample(subscriptions, 3)
    ]
    keys = [event.pk for event in events[:15]]

    def written(write: Any) -> tuple[Any, ...]:
        write(deliveries, keys, now=at)
        columns = [field.attname for field in Delivery._meta.concrete_fields if field.attname != "id"]
        rows = Delivery.objects.order_by("pk").values(*columns)
        return list(rows), list(Event.objects.order_by("pk").values("pk", "routed_at"))

    portable = undone(written, writing.write_portably)
    assert len(portable[0]) in (len(deliveries), len(deliveries) + 1)
    assert sum(event["routed_at"] == at for event in portable[1]) == len(keys)
    with CaptureQueriesContext(connection) as captured:
        assert undone(written, writing_postgresql.write) == portable
    statements = [one for one in captured if "INSERT INTO orderhooks_delivery" in one["sql"]]
    assert len(statements) in {1: [len(deliveries)], 1500: range(10, 50), 4_000_000: [1]}[characters]
    assert undone(written, lambda *_arguments, now: writing_postgresql.write([], keys, now=now))[1] == portable[1]


SOURCE = sources.BuiltInOrders.name


def save_orders(seed: int) -> list[Order]:
    """Orders whose captured changes stay in the outbox, because the test's transaction is never committed."""
    make_subscription()
    chance = random.Random(seed)
    orders = [make_order(note="ä") for _ in range(6)]
    begin = timezone.now()
    for number in range(30):
        order = chance.choice(orders)
        name, values = chance.choice([("note", ["", "quick", "ö"]), ("payment_status", ["paid", "refunded"])])
        setattr(order, name, chance.choice(values))
        order.save()
        Change.objects.filter(pk=Change.objects.latest("pk").pk).update(created_at=begin + number * MINUTE)
    return orders


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_changes_are_taken(seed: int, count: int) -> None:
    orders = [str(order.pk) for order in save_orders(seed)]

    def taken(take: Any) -> tuple[Any, ...]:
        found = take(SOURCE, orders[:count], using="default")
        return [vars(one) | {"_state": None} for one in found], list(Change.objects.order_by("pk").values())

    portable = undone(taken, taking.take_portably)
    assert {one["order_pk"] for one in portable[0]} == set(orders[:count])
    assert {one["order_pk"] for one in portable[1]} == set(orders[count:])
    assert undone(taken, taking_postgresql.take) == portable


@pytest.mark.parametrize("at_most", [3, 100])
@pytest.mark.parametrize("before", [None, 10 * MINUTE])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_changes_are_leased(seed: int, before: timedelta | None, at_most: int) -> None:
    save_orders(seed)
    chance = random.Random(seed)
    begin = Change.objects.earliest("created_at").created_at
    for change in Change.objects.all():
        change.lease_expires_at = chance.choice([None, None, NOW - MINUTE, NOW, NOW + MINUTE])
        change.is_raw = chance.random() < 0.2
        change.save()
    options = {"before": begin + before if before else None, "now": NOW, "until": NOW + MINUTE, "at_most": at_most}

    def leased(lease: Any) -> tuple[Any, ...]:
        found = lease(**options, using="default")
        return [vars(one) | {"_state": None} for one in found], list(Change.objects.order_by("pk").values())

    portable = undone(leased, leasing.lease_portably)
    assert 3 <= len(portable[0]) <= at_most
    assert len(portable[0]) < Change.objects.count()
    assert undone(leased, leasing_postgresql.lease) == portable


def written_events(coalesce: Any) -> tuple[Any, ...]:
    """The events that it returns, those that it wrote, and the changes that it left."""
    events = coalesce()
    columns = [field.name for field in Event._meta.fields if field.name not in ("sequence", "public_id")]
    rows = Event.objects.filter(sequence__in=[event.sequence for event in events]).order_by("sequence")
    assert [event.public_id for event in events] == [event.public_id for event in rows]
    assert {event._state.adding for event in events} == {False}
    returned = [{name: getattr(event, name) for name in columns} for event in events]
    written = list(rows.values(*columns))
    assert returned == written
    return without_times(written), list(Change.objects.order_by("pk").values())


def without_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only whether they are published: each statement takes the time anew."""
    return [{**event, "published_at": event["published_at"] is not None} for event in events]


def captured_of(order: Order) -> tuple[list[Change], OrderRead]:
    changes = list(Change.objects.of_order(SOURCE, str(order.pk)))
    return changes, read_order(SOURCE, str(order.pk), using="default")


def replaced(replace: Any, captured: list[Change], read: OrderRead) -> list[Event]:
    events = events_of(captured, read, now=NOW, using="default")
    return events if replace(captured, events, using="default") else []


@pytest.mark.parametrize("seed", range(4))
def test_the_same_events_take_the_place_of_the_changes(seed: int) -> None:
    order = save_orders(seed)[0]
    captured, read = captured_of(order)
    portable = undone(written_events, lambda: replaced(coalescing.replace_portably, captured, read))
    assert portable[0]
    assert len(portable[1]) < Change.objects.count()
    assert undone(written_events, lambda: replaced(coalescing_postgresql.replace, captured, read)) == portable


@pytest.mark.parametrize(("characters", "statements"), [(1, 20), (1500, range(3, 19)), (4_000_000, 1)])
def test_the_same_events_are_inserted(
    characters: int, statements: int | range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "CHARACTERS_AT_ONCE", characters)
    chance = random.Random(characters)
    decided: list[dict[str, Any]] = [
        {"payload": {"order": {"note": 'a "quote", \\ ä %s \u2028'}, "changes": {}}, "published_at": NOW},
        {"payload": None, "error": 'KeyError: "ä"', "changes": {"note": ["", "\\"]}},
        {"payload": {"order": None}, "published_at": NOW, "order_number": "R-1 ä", "store": "s", "api_version": "2026"},
    ]
    events = [
        Event(topic="order.paid", source=SOURCE, order_pk=str(number), occurred_at=NOW, **chance.choice(decided))
        for number in range(20)
    ]

    def written(insert: Any) -> tuple[Any, ...]:
        insert(events)
        assert [event.sequence for event in events] == sorted(event.sequence for event in events)
        assert {(event._state.adding, event._state.db) for event in events} == {(False, "default")}
        columns = [field.attname for field in Event._meta.concrete_fields if field.name != "sequence"]
        rows = list(Event.objects.order_by("sequence").values(*columns))
        assert [row["published_at"] for row in rows] == [event.published_at for event in events]
        assert [row["public_id"] for row in rows] == [event.public_id for event in events]
        return tuple(without_times(rows))

    portable = undone(written, Event.objects.bulk_create)
    for event in events:
        event.sequence, event._state.adding, event._state.db = None, True, None
    with CaptureQueriesContext(connection) as captured:
        assert undone(written, lambda rows: coalescing_postgresql.insert(rows, using="default")) == portable
    made = sum("INSERT INTO orderhooks_event" in query["sql"] for query in captured)
    assert made in (statements if isinstance(statements, range) else [statements])
    with CaptureQueriesContext(connection) as captured:
        coalescing_postgresql.insert([], using="default")
    assert list(captured) == []


@pytest.mark.parametrize("what", ["another change", "one of them gone"])
def test_nothing_takes_the_place_of_other_changes_than_those_captured(what: str) -> None:
    order = save_orders(0)[0]
    captured, read = captured_of(order)
    if what == "another change":
        captured = captured[:-1]
    else:
        Change.objects.filter(pk=captured[0].pk).delete()
    before = list(Change.objects.order_by("pk").values())
    for replace in (coalescing_postgresql.replace, coalescing.replace_portably):
        assert replaced(replace, captured, read) == []
        assert (list(Change.objects.order_by("pk").values()), Event.objects.count()) == (before, 0)


@pytest.mark.parametrize(
    "pumps",
    [
        [],
        [{"ended": False, "age": 0}],
        [{"ended": False, "age": 4}, {"ended": True, "age": 0}],
        [{"ended": True, "age": 0}],
        [{"ended": False, "age": 6}, {"ended": True, "age": 3}],
    ],
)
def test_the_same_pumps_are_alive(pumps: list[dict[str, Any]]) -> None:
    now = DatabaseClock().now()
    for pump in pumps:
        Pump.objects.create(ended=pump["ended"], beat_at=now - timedelta(seconds=pump["age"]))
    alive = wakeup.notify_pumps(fresh=FRESH, using="default")
    assert alive == Pump.objects.fresh().exists() == any(one["age"] < 5 and not one["ended"] for one in pumps)
