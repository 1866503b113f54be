"""An order with changes of several transactions is read before they are locked, a few transactions at a time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from orderhooks import outbox
from orderhooks.models import Change, Event, Order
from orderhooks.outbox import coalescing, left_behind
from orderhooks.outbox.reading import by_transaction
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription
from tests.publications import payload_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]

PAYLOAD = BuiltInOrders.payload


@pytest.fixture(autouse=True)
def _in_worker(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription()


def change(order: Order, *notes: str) -> None:
    for note in notes:
        order.note = note
        order.save()


def work() -> None:
    outbox.coalesce_left_behind(now=timezone.now() + 2 * left_behind.RETRY_AFTER)


def notes_of(order: Order) -> list[str]:
    events = Event.objects.filter(order_pk=str(order.pk)).order_by("sequence")
    return [payload_of(event)["order"]["note"] for event in events]


def before_reading(monkeypatch: pytest.MonkeyPatch, step: Callable[[Order], None]) -> None:
    def payload(source: BuiltInOrders, order: Order) -> Any:
        step(order)
        return PAYLOAD(source, order)

    monkeypatch.setattr(BuiltInOrders, "payload", payload)


@pytest.mark.parametrize("orders", [1, left_behind.FEW + 1])
def test_no_lock_is_held_while_it_is_read(orders: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_order(lines=[]) for _ in range(orders)]
    for order in made:
        change(order, "a", "b")
    inside = set[bool]()
    before_reading(monkeypatch, lambda _order: inside.add(connection.in_atomic_block))
    work()
    # Where several can write, it is the transaction that limits how long a read waits.
    assert inside == {connection.vendor != "sqlite"}
    assert [notes_of(order) for order in made] == [["", "a", "b"]] * orders


def test_one_that_changes_while_a_group_is_read_is_read_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_order(lines=[]) for _ in range(left_behind.FEW + 1)]
    last, inside = made[-1], set[bool]()

    def change_the_last(_order: Order) -> None:
        inside.add(connection.in_atomic_block)
        if not Change.objects.filter(order_pk=str(last.pk), kind="updated").exists():
            change(last, "late")

    before_reading(monkeypatch, change_the_last)
    outbox.coalesce_left_behind(now=timezone.now())
    assert [notes_of(order) for order in made[:-1]] == [[""]] * left_behind.FEW
    assert notes_of(last) == ["", "late"]
    assert inside == {connection.vendor != "sqlite"}


def test_a_turn_ends_in_the_midst_of_many_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    order = make_order(lines=[])
    notes = [str(number) for number in range(2 * coalescing.TRANSACTIONS_TOGETHER)]
    change(order, *notes)
    turns = []
    monkeypatch.setattr(left_behind, "TURN_SECONDS", 0.000_001)
    monkeypatch.setattr(left_behind._Turn, "_goes_on", lambda turn: not turn.events)
    while Change.objects.exists():
        outbox.coalesce_left_behind(now=timezone.now())
        turns.append(Event.objects.count())
    assert turns == [coalescing.TRANSACTIONS_TOGETHER, 2 * coalescing.TRANSACTIONS_TOGETHER, len(notes) + 1]
    assert notes_of(order) == ["", *notes]


@pytest.mark.parametrize("times", [1, coalescing.MOST_BEATEN])
def test_what_another_process_takes_is_made_an_event_once(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often that happens while the order is read."""
    order = make_order(lines=[])
    change(order, "a", "b", "c", "d")
    taken: list[int] = []

    def take_the_oldest(_order: Order) -> None:
        if len(taken) < times and not (taken and Change.objects.filter(pk=taken[-1]).exists()):
            oldest = Change.objects.earliest("pk")
            taken.append(oldest.pk)
            oldest.delete()

    before_reading(monkeypatch, take_the_oldest)
    events = outbox.coalesce("orderhooks", str(order.pk), now=timezone.now())
    assert len(taken) == times
    assert notes_of(order) == ["", "a", "b", "c", "d"][times:]
    assert [event.pk for event in events] == list(Event.objects.order_by("sequence").values_list("pk", flat=True))
    assert not Change.objects.exists()


def test_changes_of_triggers_can_be_converted_again() -> None:
    order = make_order(lines=[])
    Change.objects.update(is_raw=True, created_at=timezone.now() - timedelta(hours=1))
    raw = list(Change.objects.of_order("orderhooks", str(order.pk)))
    before = [(one.before, one.after, one.error) for one in raw]
    by_transaction(raw)
    assert [(one.before, one.after, one.error) for one in raw] == before
