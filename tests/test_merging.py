"""At most one `order.updated` of an order in some time: what waits, what merges, and what never does."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import merging, operations, publishing, replaying, routing, sending, shaping
from orderhooks.backfilling import batches
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.transport import Outcome
from tests.factories import (
    claim,
    make_backfill,
    make_event,
    make_failed_event,
    make_order,
    make_replay,
    make_subscription,
)

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(microsecond=0)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def endpoint(**fields: Any) -> Subscription:
    return make_subscription(**{"update_interval_seconds": 60, **fields})


def happens(topic: str = "order.updated", *, changes: Mapping[str, Any] | None = None, **fields: Any) -> Event:
    """An event of order 1 that waits to be routed."""
    changes = dict(changes or {"note": ["a", "b"]})
    payload = {"order": {"number": "1001"}, "changes": changes}
    return make_event(**{"topic": topic, "changes": changes, "payload": payload, "routed_at": None, **fields})


def route(seconds: float) -> None:
    while routing.route(now=at(seconds)):
        pass  # a turn ends after a second


def update(seconds: float, old: str, new: str, **fields: Any) -> Event:
    """The note changes, and the event is routed that many seconds after NOW."""
    event = happens(changes={"note": [old, new]}, **fields)
    route(seconds)
    return event


def sent(seconds: float, *, status: int = 200) -> list[tuple[str, int, Any]]:
    """Claim and send all that is due then. Topic, sequence and changes of each request, in order."""
    claimed = claim(100, now=at(seconds))
    bodies = []
    for delivery in claimed:
        assert "merged_changes" not in delivery.get_deferred_fields()  # it would be a query for each
        shaped = shaping.shape(delivery.event, delivery.subscription, changes=delivery.merged_changes)
        bodies.append(json.loads(shaped.body))
    outcome = Outcome(status_code=status, error="" if status < 300 else "status")
    results = [sending.Sent(one, {}, at(seconds), outcome) for one in claimed]
    assert sending.record(results, now=at(seconds)) == []
    return [(body["type"], body["sequence"], body["data"]["changes"]) for body in bodies]


def waits(event: Event) -> float:
    """How many seconds after NOW its delivery is due."""
    delivery = event.deliveries.get()
    assert delivery.state == "pending"
    assert delivery.next_attempt_at is not None
    return (delivery.next_attempt_at - NOW).total_seconds()


def state(event: Event) -> str:
    delivery = event.deliveries.get()
    return "merged" if delivery.is_merged else delivery.state


def test_the_first_goes_at_once_and_the_next_ones_go_together() -> None:
    endpoint()
    first = update(0, "a", "b")
    assert sent(0) == [("order.updated", first.pk, {"note": ["a", "b"]})]
    second = update(5, "b", "c")
    assert waits(second) == 60
    third = update(20, "c", "d")
    fourth = happens(changes={"total": ["1.00", "2.00"]})
    route(59)
    assert sent(59) == []
    assert [state(one) for one in (first, second, third, fourth)] == ["delivered", "merged", "merged", "pending"]
    assert sent(60) == [("order.updated", fourth.pk, {"note": ["b", "d"], "total": ["1.00", "2.00"]})]
    assert waits(update(61, "d", "e")) == 120
    assert waits(update(300, "x", "y", order_pk="2")) == 300


def test_what_is_routed_in_one_batch_goes_at_once_as_one() -> None:
    endpoint()
    events = [happens(changes={"note": [str(number), str(number + 1)]}) for number in range(5)]
    route(0)
    assert sent(0) == [("order.updated", events[-1].pk, {"note": ["0", "5"]})]
    assert [state(one) for one in events] == ["merged"] * 4 + ["delivered"]
    assert waits(update(1, "5", "6")) == 60


def test_without_an_interval_nothing_waits_and_nothing_is_asked() -> None:
    make_subscription()
    events = [happens() for _ in range(3)]
    with CaptureQueriesContext(connection) as captured:
        route(0)
    # Is there any; the transaction's own; events, subscriptions; deliveries and routed, in one on PostgreSQL.
    statements = [one["sql"].strip().lower().removeprefix("select set_config") for one in captured]
    expected = 5 if connection.vendor == "postgresql" else 6
    assert len([one for one in statements if one.startswith(("select", "insert", "update", "with"))]) == expected
    assert [topic for topic, *_rest in sent(0)] == ["order.updated"] * 3
    assert {one.deliveries.get().update_due_at for one in events} == {None}


def test_other_topics_orders_and_subscriptions_never_wait() -> None:
    slow, other, without = endpoint(), endpoint(topics=["order.paid"]), make_subscription()
    update(0, "a", "b")
    assert len(sent(0)) == 2
    waiting = update(10, "b", "c")
    paid = happens("order.paid", changes={"payment_status": ["pending", "paid"]})
    route(11)
    assert [topic for topic, *_rest in sent(11)].count("order.paid") == 3
    assert paid.deliveries.get(subscription=other).state == "delivered"
    assert waiting.deliveries.get(subscription=without).state == "delivered"
    assert waiting.deliveries.get(subscription=slow).state == "pending"
    # What waits takes a later update along, past the other topic.
    last = update(12, "c", "d")
    assert [one[2] for one in sent(12)] == [{"note": ["c", "d"]}]
    assert sent(60) == [("order.updated", last.pk, {"note": ["b", "d"]})]


def test_in_an_ordered_subscription_another_topic_sends_the_update_before_it() -> None:
    endpoint(ordered=True)
    update(0, "a", "b")
    sent(0)
    waiting = update(10, "b", "c")
    happens(changes={"note": ["c", "d"], "payment_status": ["pending", "paid"]})
    paid = happens("order.paid")
    route(20)
    assert state(waiting) == "merged"
    both = {"note": ["b", "d"], "payment_status": ["pending", "paid"]}
    assert sent(20) == [("order.updated", paid.pk - 1, both)]
    assert sent(20) == [("order.paid", paid.pk, {"note": ["a", "b"]})]
    # The interval begins again.
    assert waits(update(25, "d", "e")) == 80


def test_in_an_ordered_subscription_a_topic_of_a_transaction_of_its_own_sends_it_too() -> None:
    endpoint(ordered=True)
    update(0, "a", "b")
    sent(0)
    waiting = update(10, "b", "c")
    happens("order.note_read")
    route(20)
    assert waits(waiting) == 20
    # One that had to go before another topic takes nothing along that came after it.
    later = update(21, "c", "d")
    assert (state(waiting), waits(later)) == ("pending", 80)


@pytest.mark.parametrize("status", [500, None])
def test_an_update_that_was_begun_is_not_altered(status: int | None) -> None:
    endpoint()
    begun = update(0, "a", "b")
    if status is None:
        claim(1, now=at(0))
    else:
        sent(0, status=status)
    later = update(2, "b", "c")
    assert state(begun) == ("sending" if status is None else "pending")
    assert begun.deliveries.get().merges_from is None
    assert waits(later) == pytest.approx(62 if status is None else 60)


def test_a_claim_that_is_given_back_may_still_merge() -> None:
    endpoint()
    first = update(0, "a", "b")
    sending.claiming.release(claim(1, now=at(0)))
    last = update(2, "b", "c")
    assert (state(first), waits(last)) == ("merged", 0)


def test_each_attempt_sends_the_same_bytes() -> None:
    endpoint()
    update(0, "a", "b")
    sent(0)
    update(1, "b", "c")
    update(2, "c", "d")
    [first] = sent(60, status=500)
    waits(update(61, "d", "e"))
    Subscription.objects.update(circuit_open_until=None)
    assert first in sent(119)


def test_a_paused_subscription_gets_one_update_of_each_order_when_it_is_resumed() -> None:
    subscription = endpoint(state="paused")
    for number in range(4):
        update(1000 * number, str(number), str(number + 1))
    assert sent(5000) == []
    operations.resume(Subscription.objects.filter(pk=subscription.pk))
    [(_topic, _sequence, changes)] = sent(5000)
    assert changes == {"note": ["0", "4"]}


def test_changes_that_cancel_out_are_sent_as_no_changes() -> None:
    endpoint()
    update(0, "a", "b")
    sent(0)
    update(1, "b", "c")
    last = update(2, "c", "b")
    assert sent(60) == [("order.updated", last.pk, {})]


def test_an_update_in_between_that_it_did_not_get_counts_too() -> None:
    subscription = endpoint(store="north")
    update(0, "a", "b", store="north")
    sent(0)
    update(1, "b", "c", store="north")
    update(2, "c", "d", store="south")
    last = happens(changes={"total": [1, 2]}, store="north")
    route(3)
    assert last.deliveries.get(subscription=subscription).merged_changes == {"note": ["b", "d"], "total": [1, 2]}


def test_an_event_that_is_published_later_than_a_newer_one_goes_by_itself() -> None:
    endpoint()
    late = make_failed_event(topic="order.updated", changes={"note": ["a", "b"]})
    sent(0)
    waiting = update(1, "b", "c")
    assert late.publish({"order": {}, "changes": {"note": ["a", "b"]}}, number="", store="")
    route(2)
    assert [changes for _topic, _sequence, changes in sent(2)] == [{"note": ["b", "c"]}]
    assert state(waiting) == "delivered"
    assert [changes for _topic, _sequence, changes in sent(200)] == [{"note": ["a", "b"]}]


def test_an_update_that_an_operator_skipped_leaves_its_place_to_the_next() -> None:
    endpoint()
    update(0, "a", "b")
    sent(0)
    skipped = update(1, "b", "c")
    Delivery.objects.filter(event=skipped).skip()
    last = update(2, "c", "d")
    assert (state(skipped), waits(last)) == ("skipped", 60)
    assert last.deliveries.get().merged_changes is None


def test_what_a_person_sends_again_goes_at_once_with_its_own_changes() -> None:
    endpoint()
    update(0, "a", "b")
    sent(0)
    merged, waiting = update(1, "b", "c"), update(2, "c", "d")
    assert operations.redeliver(Delivery.objects.filter(event__in=[merged, waiting])) == 2
    Delivery.objects.filter(trigger="manual").update(next_attempt_at=at(2))
    assert sorted(sent(3)) == [
        ("order.updated", merged.pk, {"note": ["b", "c"]}),
        ("order.updated", waiting.pk, {"note": ["b", "d"]}),
    ]


def test_a_replay_leaves_out_what_was_merged_away() -> None:
    subscription = endpoint()
    update(0, "a", "b")
    sent(0)
    merged, last = update(1, "b", "c"), update(2, "c", "d")
    sent(60)
    begin = NOW - timedelta(days=1)
    replay = make_replay(subscription=subscription, since=begin, until=timezone.now() + timedelta(minutes=1))
    assert replaying.estimate(replay).count == 2
    replaying.process_batch(now=at(100))
    assert (state(merged), state(last)) == ("merged", "pending")
    # And what is replayed merges with nothing.
    assert waits(update(100, "d", "e")) == pytest.approx(120)
    assert ("order.updated", last.pk, {"note": ["b", "d"]}) in sent(100)


@pytest.mark.parametrize(
    ("changed", "waits"),
    [({"update_interval_seconds": None}, False), ({"ordered": True}, False), ({"name": "N"}, True)],
)
def test_a_change_of_the_interval_sends_what_waits(changed: dict[str, Any], waits: bool) -> None:
    # Longer than a run of the tests, because the change is made at the real time.
    subscription = endpoint(update_interval_seconds=3600)
    update(0, "a", "b")
    sent(0)
    waiting = update(1, "b", "c")
    operations.reconfigure(subscription, changed)
    assert (waiting.deliveries.get().next_attempt_at == at(3600)) is waits


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_people_send_to_an_ordered_subscription_does_not_wait_behind_an_update(by_hand: bool) -> None:
    subscription = endpoint(ordered=True)
    order = make_order()
    fields = {"order_pk": str(order.pk), "order_number": order.number}
    Event.objects.all().delete()
    update(0, "a", "b", **fields)
    sent(0)
    waiting = update(1, "b", "c", **fields)
    Delivery.objects.filter(event=waiting).update(next_attempt_at=timezone.now() + timedelta(hours=1))
    if by_hand:
        publishing.publish_to(subscription, "order.paid", order.number)
    else:
        make_backfill(subscription=subscription, last_key=str(order.pk))
        assert batches.process_batch(now=timezone.now()) == 1
    due_at = waiting.deliveries.get().next_attempt_at
    assert due_at is not None
    assert due_at <= timezone.now() + timedelta(seconds=5)


def test_an_event_waits_for_the_next_turn_if_another_worker_has_an_earlier_one_of_its_order() -> None:
    subscription, other = endpoint(), endpoint(topics=["order.paid"])
    first, of_another, second = happens(), happens(order_pk="2"), happens()
    paid = happens("order.paid")
    both = [subscription, other, make_subscription()]
    assert merging.held_back([of_another, second], both) == {second.pk}
    assert merging.held_back([of_another, second], [other]) == set()
    assert merging.held_back([first, of_another, second], both) == set()
    # Of another topic it need not wait, except in an ordered subscription.
    assert merging.held_back([paid], both) == set()
    subscription.ordered = True
    assert merging.held_back([paid], both) == {paid.pk}


@pytest.mark.parametrize("subscriptions", [1, 5])
@pytest.mark.parametrize("at_once", [1, 1000])
def test_it_merges_the_same_in_small_and_large_batches(monkeypatch, subscriptions: int, at_once: int) -> None:
    monkeypatch.setattr("orderhooks.routing.batches.CREATE_AT_ONCE", at_once)
    for _ in range(subscriptions):
        endpoint()
    for number in range(3):
        for order in ("1", "2", "3"):
            happens(changes={"note": [str(number), str(number + 1)]}, order_pk=order)
    route(0)
    assert [one[2] for one in sent(0)] == [{"note": ["0", "3"]}] * 3 * subscriptions
    for order in ("1", "2", "3"):
        happens(changes={"note": ["3", "4"]}, order_pk=order)
        happens(changes={"note": ["4", "5"]}, order_pk=order)
    route(1)
    assert sent(59) == []
    assert [one[2] for one in sent(60)] == [{"note": ["3", "5"]}] * 3 * subscriptions


def test_what_a_subscription_chose_merges_and_is_reshaped_afterwards() -> None:
    endpoint(changed_fields=["note"], projection="{note: data.changes.note, total: data.changes.total}")
    update(0, "a", "b")
    claimed = claim(1, now=at(0))
    update(1, "b", "c")
    happens(changes={"total": ["1.00", "2.00"]})
    last = update(2, "c", "d")
    delivery = last.deliveries.get()
    shaped = shaping.shape(last, delivery.subscription, changes=delivery.merged_changes)
    assert len(claimed) == 1
    # With the update in between, so that the values are those of the order.
    assert json.loads(shaped.body)["data"] == {"note": ["b", "d"], "total": ["1.00", "2.00"]}


@pytest.mark.parametrize("ordered", [False, True])
def test_an_update_that_the_filter_cannot_judge_is_held_and_merges_with_nothing(ordered: bool) -> None:
    endpoint(filter="to_number(data.order.total) > `1` || length(data.order.total) > `0`", ordered=ordered)
    made = [
        happens(changes={"note": [str(number), str(number + 1)]}, payload={"order": {"total": total}, "changes": {}})
        for number, total in enumerate(["5.00", None, "7.00"])
    ]
    route(0)
    good, bad, last = made
    assert bad.deliveries.get().last_error == "filter"
    assert (state(good), state(bad), state(last)) == ("pending" if ordered else "merged", "pending", "pending")


def test_a_source_that_is_gone_keeps_nothing_back() -> None:
    endpoint()
    update(0, "a", "b", source="gone")
    sent(0)
    update(1, "b", "c", source="gone")
    last = update(2, "c", "d", source="gone")
    assert sent(60) == [("order.updated", last.pk, {"note": ["b", "d"]})]
