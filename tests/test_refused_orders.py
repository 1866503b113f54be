"""An order that the database refuses to read, each time, keeps no others waiting."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from orderhooks import backfilling, operations, reconciling
from orderhooks.backfilling import batches
from orderhooks.models import Backfill, Delivery, Order, Subscription
from orderhooks.reconciling import Kind
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

NUMBERS = ["1", "2", "3", "4", "5"]
REFUSAL = "canceling statement due to statement timeout"


def refuse(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> None:
    payload = BuiltInOrders.payload

    def refused(source: BuiltInOrders, order: Order) -> Any:
        if order.number in numbers:
            raise OperationalError(REFUSAL)
        return payload(source, order)

    monkeypatch.setattr(BuiltInOrders, "payload", refused)


@pytest.fixture
def crm() -> Subscription:
    """Subscribed when the orders were there already."""
    for number in NUMBERS:
        make_order(lines=[], number=number)
    return make_subscription()


def turns(number: int) -> None:
    now = timezone.now()
    for _ in range(number):
        Backfill.objects.update(next_batch_at=now)
        backfilling.process_batch(now=now + timedelta(days=1))


def sent() -> list[str]:
    return list(Delivery.objects.order_by("event_id").values_list("event__order_number", flat=True))


@pytest.mark.parametrize("refused", ["1", "3", "5"])
def test_a_backfill_passes_over_it_alone(refused: str, crm: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    backfill = operations.backfill(crm, rate=1000)
    refuse(monkeypatch, refused)
    turns(batches.MOST_TRIES + len(NUMBERS))
    backfill.refresh_from_db()
    assert sent() == [number for number in NUMBERS if number != refused]
    assert (backfill.state, backfill.done, backfill.failed) == ("done", 4, 1)
    assert "the database refused it" in backfill.first_error


def test_a_backfill_waits_while_all_of_them_are_refused(crm: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    backfill = operations.backfill(crm, rate=1000)
    with monkeypatch.context() as patch:
        refuse(patch, *NUMBERS)
        turns(9)
    backfill.refresh_from_db()
    assert (backfill.state, backfill.walked) == ("running", 0)
    turns(1)
    assert sent() == NUMBERS


def test_a_reconciliation_names_it_and_compares_the_others(crm: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, "3")
        found = reconciling.advance(reconciling.begin(since=None), now=timezone.now())
    assert [(one.number, one.error) for one in found if one.kind == Kind.UNREADABLE] == [
        (str(Order.objects.get(number="3").pk), f"OperationalError: {REFUSAL}")
    ]


def test_a_reconciliation_is_put_off_while_all_of_them_are_refused(
    crm: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, *NUMBERS)
    reconciliation = reconciling.begin(since=None)
    with pytest.raises(OperationalError):
        reconciling.advance(reconciliation, now=timezone.now())
    reconciliation.refresh_from_db()
    assert (reconciliation.state, reconciliation.compared) == ("running", 0)
