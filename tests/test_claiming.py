"""P5, P11 and P12 in the database: what a claim takes, the limits over all workers, and the order of an order."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.models import Delivery, Event, Subscription
from orderhooks.sending import claiming
from tests.factories import claim, make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
SECOND = timedelta(seconds=1)


def owe(subscription: Subscription, number: int, **fields) -> list[Delivery]:
    return [make_delivery(subscription=subscription, **fields) for _ in range(number)]


def owe_at_once(subscription: Subscription, number: int) -> None:
    """`number` deliveries of as many orders, due at NOW."""
    moments = dict.fromkeys(("occurred_at", "published_at", "routed_at"), NOW)
    numbers = range(number)
    made = Event.objects.bulk_create(
        Event(topic="order.paid", source="orderhooks", order_pk=f"{number} {one}", payload={}, **moments)
        for one in numbers
    )
    Delivery.objects.bulk_create(
        Delivery(event=event, subscription=subscription, next_attempt_at=NOW) for event in made
    )


def finish(delivery: Delivery, state: str = "delivered") -> None:
    Delivery.objects.filter(pk=delivery.pk).update(
        state=state, finished_at=timezone.now(), lease_token=None, lease_expires_at=None, next_attempt_at=None
    )


def test_a_claim_takes_the_longest_due_of_each_subscription() -> None:
    one, other = make_subscription(), make_subscription()
    late = make_delivery(subscription=one, next_attempt_at=NOW - 5 * SECOND)
    earlier = make_delivery(subscription=one, next_attempt_at=NOW - 50 * SECOND)
    theirs = make_delivery(subscription=other, next_attempt_at=NOW - SECOND)
    make_delivery(subscription=other, next_attempt_at=NOW + timedelta(hours=1))
    assert {delivery.pk for delivery in claim(1)} == {earlier.pk, theirs.pk}
    assert [delivery.pk for delivery in claim(5)] == [late.pk]


def test_whose_head_has_waited_longest_comes_first() -> None:
    first, second, third = make_subscription(), make_subscription(), make_subscription()
    for subscription, seconds in ((second, 20), (first, 30), (third, 10)):
        make_delivery(subscription=subscription, next_attempt_at=NOW - seconds * SECOND)
    assert [one.subscription for one in claiming.due(now=NOW)] == [first, second, third]


def test_the_number_of_queries_does_not_grow_with_the_subscriptions_that_wait_for_nothing() -> None:
    make_delivery()
    with CaptureQueriesContext(connection) as few:
        claiming.due(now=timezone.now())
    for _ in range(20):
        make_delivery(state="delivered")
    with CaptureQueriesContext(connection) as many:
        claiming.due(now=timezone.now())
    assert len(few) == len(many)


def test_the_limit_of_requests_in_flight_holds_over_all_workers() -> None:
    subscription = make_subscription(max_in_flight=3)
    owe(subscription, 5)
    first = claim(2)
    assert len(first) == 2
    assert len(claim(5)) == 1
    assert claim(5) == []
    finish(first[0])
    assert len(claim(5)) == 1


def test_manual_attempts_count_for_the_limit_too() -> None:
    subscription = make_subscription(max_in_flight=2)
    owe(subscription, 2)
    owe(subscription, 2, trigger="manual")
    by_hand = claim(5)
    assert [one.trigger for one in by_hand] == ["manual", "manual"]
    finish(by_hand[0])
    assert [one.trigger for one in claim(5)] == ["automatic"]
    assert claim(5) == []


def test_both_kinds_together_do_not_exceed_the_limit() -> None:
    subscription = make_subscription(max_in_flight=3)
    owe(subscription, 2)
    owe(subscription, 2, trigger="manual")
    assert [one.trigger for one in claim(5)] == ["manual", "manual", "automatic"]
    assert claim(5) == []


def test_manual_attempts_come_first_and_do_not_wait_for_an_open_circuit() -> None:
    overloaded = make_subscription(circuit_open_until=timezone.now() + timedelta(hours=1))
    free = make_subscription()
    owe(overloaded, 1)
    owe(free, 1, next_attempt_at=NOW - 60 * SECOND)
    owe(overloaded, 1, trigger="manual")
    due = [(one.subscription, one.trigger) for one in claiming.due(now=timezone.now())]
    assert due == [(overloaded, "manual"), (free, "automatic")]


def test_neither_paused_nor_disabled_subscriptions_are_due() -> None:
    for state in ("paused", "disabled"):
        owe(make_subscription(state=state), 1, trigger="manual")
        owe(make_subscription(state=state), 1)
    assert claiming.due(now=timezone.now()) == []


def test_the_limit_a_second_holds_over_all_workers() -> None:
    subscription = make_subscription(max_per_second=40)
    owe(subscription, 50)
    now = timezone.now() + SECOND
    claimed = [len(claim(50, now=now + number * timedelta(milliseconds=10))) for number in range(100)]
    assert sum(claimed) in range(39, 43)
    assert max(claimed) <= 2, "spread out, not in a burst"


def test_a_released_claim_is_due_again_and_counts_no_attempt() -> None:
    delivery = make_delivery()
    [claimed] = claim()
    claiming.release([claimed])
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made, delivery.lease_token) == ("pending", 0, None)
    assert len(claim()) == 1


def test_a_release_that_comes_too_late_changes_nothing() -> None:
    make_delivery()
    [slow] = claim()
    Delivery.objects.update(state="pending", lease_token=None, lease_expires_at=None)
    [quick] = claim()
    claiming.release([slow])
    assert Delivery.objects.get().lease_token == quick.lease_token


def test_both_kinds_together_keep_to_the_limit_a_second() -> None:
    subscription = make_subscription(max_per_second=1)
    owe(subscription, 1)
    owe(subscription, 1, trigger="manual")
    assert [one.trigger for one in claim(5)] == ["manual"]
    assert [one.trigger for one in claim(5, now=timezone.now() + SECOND)] == ["automatic"]


def test_a_manual_attempt_that_waits_for_its_order_leaves_the_capacity_to_others() -> None:
    subscription = make_subscription(ordered=True, max_in_flight=1)
    make_delivery(subscription=subscription, event=make_event(order_pk="1"), state="failed")
    make_delivery(subscription=subscription, event=make_event(order_pk="1"), trigger="manual")
    other = make_delivery(subscription=subscription, event=make_event(order_pk="2"))
    assert [one.pk for one in claim(5)] == [other.pk]


class TestOrdered:
    def test_an_orders_events_go_one_after_the_other_and_orders_side_by_side(self) -> None:
        subscription = make_subscription(ordered=True)
        first, second = (make_delivery(subscription=subscription, event=make_event(order_pk="1")) for _ in range(2))
        other = make_delivery(subscription=subscription, event=make_event(order_pk="2"))
        assert {one.pk for one in claim(9)} == {first.pk, other.pk}
        assert claim(9) == []
        finish(first)
        assert [one.pk for one in claim(9)] == [second.pk]

    def test_it_is_the_sequence_that_counts_not_when_it_is_due(self) -> None:
        subscription = make_subscription(ordered=True)
        event, later = make_event(), make_event()
        make_delivery(subscription=subscription, event=later, next_attempt_at=NOW - 99 * SECOND)
        make_delivery(subscription=subscription, event=event, next_attempt_at=NOW + timedelta(hours=1))
        assert claim(9) == [], "the first waits for its retry, so the second waits for the first"

    @pytest.mark.parametrize(("state", "blocks"), [("failed", True), ("skipped", False), ("delivered", False)])
    def test_what_failed_holds_up_its_own_order_alone(self, state: str, blocks: bool) -> None:
        subscription = make_subscription(ordered=True)
        head = make_delivery(subscription=subscription, event=make_event(order_pk="1"), state=state)
        behind = make_delivery(subscription=subscription, event=make_event(order_pk="1"))
        other = make_delivery(subscription=subscription, event=make_event(order_pk="2"))
        assert {one.pk for one in claim(9)} == ({other.pk} if blocks else {other.pk, behind.pk})
        if blocks:
            assert list(Delivery.objects.filter(pk=behind.pk).unblocked()) == []
            Delivery.objects.filter(pk=head.pk).redeliver()
            assert [one.pk for one in claim(9)] == [head.pk]

    def test_what_is_sent_again_waits_for_the_later_one_that_is_under_way(self) -> None:
        subscription = make_subscription(ordered=True)
        again = make_delivery(subscription=subscription, state="delivered")
        make_delivery(subscription=subscription)
        [later] = claim(9)
        Delivery.objects.filter(pk=again.pk).redeliver()
        assert claim(9) == []
        finish(later)
        assert [one.pk for one in claim(9)] == [again.pk]

    def test_what_waits_for_its_order_is_not_due(self) -> None:
        subscription = make_subscription(ordered=True)
        make_delivery(subscription=subscription, event=make_event(order_pk="1"), state="failed")
        make_delivery(subscription=subscription, event=make_event(order_pk="1"))
        make_delivery(subscription=subscription, event=make_event(order_pk="1"), trigger="manual")
        assert claiming.due(now=timezone.now()) == []
        make_delivery(subscription=subscription, event=make_event(order_pk="2"))
        assert [one.trigger for one in claiming.due(now=timezone.now())] == ["automatic"]

    def test_an_event_that_is_not_routed_yet_goes_before_a_later_one(self) -> None:
        subscription = make_subscription(ordered=True)
        unrouted = make_event(order_pk="1", routed_at=None)
        make_delivery(subscription=subscription, event=make_event(order_pk="1"))
        assert claim(9) == []
        type(unrouted).objects.filter(pk=unrouted.pk).update(routed_at=NOW)
        assert len(claim(9)) == 1

    def test_other_subscriptions_do_not_wait(self) -> None:
        event, later = make_event(), make_event()
        ordered, free = make_subscription(ordered=True), make_subscription()
        make_delivery(subscription=ordered, event=event, state="failed")
        make_delivery(subscription=free, event=event, state="failed")
        make_delivery(subscription=ordered, event=later)
        wanted = make_delivery(subscription=free, event=later)
        assert [one.pk for one in claim(9)] == [wanted.pk]


def test_rows_that_somebody_else_has_locked_are_recorded_later(in_a_thread) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database locks no rows; run with TEST_DATABASE=postgres")
    from orderhooks import sending
    from orderhooks.transport import Outcome

    subscription = make_subscription()
    owe(subscription, 2)
    sent = [sending.Sent(one, {}, NOW, Outcome(status_code=200)) for one in claim(2)]
    later: list[sending.Sent] = []
    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=sent[0].delivery.pk)
        in_a_thread(lambda: later.extend(sending.record(sent, now=NOW))).join(20)
    assert later == [sent[0]]
    assert Delivery.objects.get(pk=sent[1].delivery.pk).state == "delivered"
    assert sending.record(later, now=NOW) == []
    assert Delivery.objects.filter(state="delivered").count() == 2


def test_a_limited_subscription_that_another_worker_claims_from_is_left_for_later(in_a_thread) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database locks no rows; run with TEST_DATABASE=postgres")
    limited, free = make_subscription(max_in_flight=5), make_subscription()
    owe(limited, 2)
    owe(free, 2)
    theirs: list[Delivery] = []
    with transaction.atomic():
        Subscription.objects.select_for_update(no_key=connection.features.has_select_for_no_key_update).get(
            pk=limited.pk
        )
        in_a_thread(lambda: theirs.extend(claim(5))).join(20)
    assert {one.subscription_id for one in theirs} == {free.pk}


@pytest.mark.parametrize("ordered", [False, True])
def test_a_claim_is_planned_alike_where_many_wait(ordered: bool) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("asks PostgreSQL for its plans; run with TEST_DATABASE=postgres")
    subscription = make_subscription(ordered=ordered)
    costs = []
    for count in (1_000, 20_000):
        owe_at_once(subscription, count)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE orderhooks_event, orderhooks_delivery")
        due = claiming.due(now=NOW)
        for one in due:
            one.capacity = 100
        with CaptureQueriesContext(connection) as captured:
            assert len(claiming.claim(due, now=NOW, lease_until=NOW)) == 100
        [statement] = [query["sql"] for query in captured if "UPDATE orderhooks_delivery" in query["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
            [[plan]] = cursor.fetchone()
        costs.append(plan["Plan"]["Total Cost"])
    assert costs[1] < 5 * costs[0], "PostgreSQL takes it for a question about all that waits"
