"""Changes that workers coalesce: none keeps the others from becoming events, and none is given up too early."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import outbox
from orderhooks.models import Change, Event, Order
from orderhooks.outbox import left_behind
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription
from tests.publications import payload_of, published

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]


@pytest.fixture(autouse=True)
def _in_worker(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription()


class Clock:
    """Stands for `time`: it goes on as the test says."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class DiedError(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def make_orders(number: int) -> list[Order]:
    with transaction.atomic():
        return [make_order(lines=[]) for _ in range(number)]


def coalesce(**later: float) -> list[Event]:
    return outbox.coalesce_left_behind(now=timezone.now() + timedelta(**later))


def fail_for(monkeypatch: Any, orders: Collection[Order], fail: Callable[[], Any]) -> None:
    """Let the payload of these orders fail."""
    read, keys = BuiltInOrders.payload, {order.pk for order in orders}

    def payload(source: BuiltInOrders, order: Order) -> Any:
        return fail() if order.pk in keys else read(source, order)

    monkeypatch.setattr(BuiltInOrders, "payload", payload)


def die() -> None:
    raise DiedError


def refuse() -> None:
    raise OperationalError("canceling statement due to statement timeout")


def of_orders(**having: str | None) -> set[str]:
    return set(Event.objects.filter(**having).values_list("order_pk", flat=True))


@pytest.mark.parametrize("number", [1, left_behind.FEW + 2])
def test_the_stores_code_keeps_no_lock_where_there_is_only_one(number: int, monkeypatch) -> None:
    inside: list[bool] = []
    read = BuiltInOrders.payload

    def payload(source: BuiltInOrders, order: Order) -> Any:
        inside.append(connection.in_atomic_block)
        return read(source, order)

    monkeypatch.setattr(BuiltInOrders, "payload", payload)
    make_orders(number)
    assert len(coalesce()) == number
    assert set(inside) == {connection.vendor != "sqlite"}


def test_more_orders_need_no_more_queries() -> None:
    queries = []
    for number in (left_behind.FEW + 1, 4 * left_behind.FEW):
        make_orders(number)
        with CaptureQueriesContext(connection) as captured:
            assert len(coalesce()) == number
        queries.append([query["sql"].split()[0] for query in captured])
    assert queries[0] == queries[1]


@pytest.mark.parametrize("number", [3, left_behind.FEW + 3])
def test_only_the_order_that_kills_its_workers_is_given_up(number: int, monkeypatch) -> None:
    first, *others = orders = make_orders(number)
    fail_for(monkeypatch, [first], die)
    deaths, minute = 0, 0
    while Change.objects.exists():
        minute += 1
        try:
            coalesce(minutes=minute)
        except DiedError:
            deaths += 1
    assert deaths == outbox.MAX_COALESCE_ATTEMPTS
    assert of_orders(published_at=None) == {str(first.pk)}
    assert of_orders(error="") == {str(order.pk) for order in others}
    assert len(published()) == len(orders)


@pytest.mark.parametrize("refused", [1, 3, 5])
@pytest.mark.parametrize("number", [2, left_behind.FEW + 3])
def test_orders_that_can_not_be_read_now_hold_up_no_others(number: int, refused: int, monkeypatch) -> None:
    *them, last = make_orders(number + refused)
    fail_for(monkeypatch, them[:refused], refuse)
    for second in range(9):
        coalesce(seconds=1.1 * second)
    assert of_orders(error="") == {str(order.pk) for order in (*them[refused:], last)}
    assert set(Change.objects.values_list("order_pk", flat=True)) == {str(order.pk) for order in them[:refused]}


def test_an_order_that_takes_a_while_to_be_refused_comes_after_the_others(monkeypatch) -> None:
    first, second = make_orders(2)
    clock = Clock()
    monkeypatch.setattr(left_behind, "time", clock)

    def wait_in_vain() -> None:
        clock.now += 4.0
        refuse()

    fail_for(monkeypatch, [first], wait_in_vain)
    now = timezone.now()
    for _ in range(4):
        outbox.coalesce_left_behind(now=now + timedelta(seconds=clock.now))
        clock.now += 1.5
    assert of_orders(error="") == {str(second.pk)}
    assert clock.now < 11, "tried once"


def test_an_order_of_several_transactions_has_its_turn_while_others_keep_coming(monkeypatch) -> None:
    [order] = make_orders(1)
    order.note = "later"
    order.save()
    clock = Clock()
    monkeypatch.setattr(left_behind, "time", clock)
    read = BuiltInOrders.payload

    def payload(source: BuiltInOrders, one: Order) -> Any:
        clock.now += left_behind.TURN_SECONDS / left_behind.FEW
        return read(source, one)

    monkeypatch.setattr(BuiltInOrders, "payload", payload)
    others: list[Order] = []
    for _ in range(2):
        others += make_orders(left_behind.FEW + 1)
        coalesce()
    assert of_orders(error="") == {str(one.pk) for one in (order, *others)}


def test_after_an_hour_without_workers_a_lock_costs_no_event(monkeypatch) -> None:
    [order] = make_orders(1)
    with monkeypatch.context() as patch:
        fail_for(patch, [order], refuse)
        assert coalesce(hours=5) == []
    assert coalesce(hours=5) == []
    [event] = coalesce(hours=5, minutes=2)
    assert payload_of(event)["order"]["number"] == order.number


def test_what_can_not_even_be_given_up_is_tried_until_it_can_be_published(monkeypatch) -> None:
    """As with a table that lacks a column until `migrate` has run."""
    [order] = make_orders(1)

    def lack(*_args: object, **_options: object) -> None:
        raise ProgrammingError("column does not exist")

    with monkeypatch.context() as patch:
        patch.setattr(left_behind, "coalesce", lack)
        patch.setattr(left_behind, "give_up", lack)
        for minute in range(3 * outbox.MAX_COALESCE_ATTEMPTS):
            assert coalesce(minutes=2 * minute) == []
    [event] = coalesce(minutes=2 * minute + 2)
    assert payload_of(event)["order"]["number"] == order.number


@pytest.mark.parametrize("is_deleted", [False, True])
def test_changes_whose_key_is_missing_wait_for_it(is_deleted: bool, settings: Any) -> None:
    def use(*keys: str) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPT_PAYLOADS": True, "ENCRYPTION_KEYS": keys}

    use("a key of the web servers")
    [order] = make_orders(1)
    if is_deleted:
        coalesce()
        Event.objects.all().delete()
        order.delete()
    use("a key of the workers")
    for minute in range(3 * outbox.MAX_COALESCE_ATTEMPTS):
        assert coalesce(minutes=2 * minute) == []
    assert not Event.objects.exists()
    use("a key of the workers", "a key of the web servers")
    [event] = coalesce(minutes=2 * minute + 2)
    assert payload_of(event)["order"]["number"] == order.number


REPEATABLE_READ = {
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
}


@pytest.mark.parametrize("number", [1, left_behind.FEW + 3])
def test_each_transaction_shows_its_own_state_where_reads_are_repeatable(number: int, monkeypatch, in_a_thread) -> None:
    if connection.vendor not in REPEATABLE_READ:
        pytest.skip("the runs on PostgreSQL and MariaDB have this test")
    [order, *_others] = make_orders(number)
    read = BuiltInOrders.payload

    def change_order() -> None:
        other = Order.objects.get(pk=order.pk)
        other.note = "later"
        other.save()

    def payload(source: BuiltInOrders, one: Order) -> Any:
        found = read(source, one)
        if one.pk == order.pk and not Change.objects.filter(order_pk=str(one.pk), kind=Change.Kind.UPDATED).exists():
            in_a_thread(change_order).join()
        return found

    monkeypatch.setattr(BuiltInOrders, "payload", payload)
    with connection.cursor() as cursor:
        cursor.execute(REPEATABLE_READ[connection.vendor])
    try:
        coalesce()
        coalesce(minutes=1)
    finally:
        connection.close()  # with the isolation level
    events = Event.objects.filter(order_pk=str(order.pk)).order_by("sequence")
    notes = [(event.topic, payload_of(event)["order"]["note"]) for event in events]
    assert notes == [("order.created", ""), ("order.updated", "later")]
