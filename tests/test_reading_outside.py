"""What an order source may do after a save, it may also do in a worker, which reads inside a transaction of its own."""

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from orderhooks import backfilling, operations, outbox
from orderhooks.models import Change, Event, Order, Subscription
from orderhooks.outbox import left_behind
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]

PAYLOAD = BuiltInOrders.payload


def catch_an_error(source: BuiltInOrders, order: Order) -> Any:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM there_is_no_such_table")
    except DatabaseError:
        Subscription.objects.exists()
    return PAYLOAD(source, order)


def insist_on_the_commit(source: BuiltInOrders, order: Order) -> Any:
    with transaction.atomic(durable=True):
        return PAYLOAD(source, order)


@pytest.fixture(params=[catch_an_error, insist_on_the_commit])
def _payload(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BuiltInOrders, "payload", request.param)


def leave_to_worker(settings: Any, orders: int) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription()
    for _ in range(orders):
        make_order(lines=[])


@pytest.mark.usefixtures("_payload")
@pytest.mark.parametrize("orders", [1, left_behind.FEW + 1])
def test_changes_that_are_left_to_a_worker_become_events(settings: Any, orders: int) -> None:
    leave_to_worker(settings, orders)
    while Change.objects.exists():
        outbox.coalesce_left_behind(now=timezone.now() + (2 * left_behind.RETRY_AFTER))
    assert [event.error for event in Event.objects.all()] == [""] * orders


@pytest.mark.usefixtures("_payload")
def test_a_backfill_sends_them_all() -> None:
    for _ in range(3):
        make_order(lines=[])
    backfill = operations.backfill(make_subscription(), rate=100)
    backfilling.process_batch(now=timezone.now())
    backfill.refresh_from_db()
    assert (backfill.done, backfill.failed, backfill.first_error) == (3, 0, "")


def test_an_order_that_fails_outside_too_has_its_own_error(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_source: BuiltInOrders, _order: Order) -> Any:
        raise LookupError("no price list")

    monkeypatch.setattr(BuiltInOrders, "payload", broken)
    leave_to_worker(settings, 1)
    outbox.coalesce_left_behind(now=timezone.now())
    assert Event.objects.get().error == "LookupError: no price list"
