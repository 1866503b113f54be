"""Which rows are orders: the database and the values that were captured of a row say the same."""

import datetime
import itertools
from typing import Any

import pytest
from django.db.models import F, Q

from orderhooks.previews import PreviewError, find_order
from orderhooks.source_trials import live_faults, static_faults
from orderhooks.sources import OrderSource, conditions, count_orders, order_keys
from tests.shapes.models import Customer, Purchase, TypedOrder

pytestmark = pytest.mark.django_db

DAY = datetime.date(2026, 1, 2)


class Typed(OrderSource):
    name = "typed"
    model = "shapes.TypedOrder"
    watched = ("pieces",)


class Placed(OrderSource):
    name = "placed"
    model = "shapes.Purchase"
    watched = ("total",)
    only = Q(state__in=["open", "paid"])


def rows() -> None:
    customer = Customer.objects.create(pk=7, name="Ada")
    values = itertools.product((None, "web", "till"), (False, True), (None, DAY), (None, customer))
    for channel, is_gift, due_on, of in values:
        TypedOrder.objects.create(channel=channel, is_gift=is_gift, due_on=due_on, customer=of, discount=1)


CONDITIONS = [
    Q(),
    Q(channel="web"),
    ~Q(channel="web"),
    Q(channel=None),
    ~Q(channel=None),
    Q(channel__exact="till", is_gift=True),
    Q(channel__in=["web", None]),
    ~Q(channel__in=["web", "till"]),
    Q(channel__in=[]),
    ~Q(channel__in=[]),
    Q(due_on__isnull=False),
    ~Q(due_on__isnull=False),
    Q(due_on="2026-01-02"),
    Q(channel="web") | Q(is_gift=True),
    ~(Q(channel="web") | Q(due_on__isnull=True)),
    ~(Q(channel="web") & ~Q(is_gift=True)),
    Q(customer=7),
    Q(customer_id=7),
    ~Q(customer=7),
    Q(customer__isnull=True),
    Q(discount="1.00"),
    Q(discount__in=(1, 2)),
    Q(pieces="0"),
]


@pytest.mark.parametrize("only", CONDITIONS, ids=str)
def test_the_database_and_the_captured_values_agree(only: Q, monkeypatch: Any) -> None:
    monkeypatch.setattr(Typed, "only", only)
    assert list(conditions.misuses(only, TypedOrder)) == []
    rows()
    source = Typed()
    orders = set(source.orders(using="default"))
    assert orders == {one for one in TypedOrder.objects.all() if source.is_order(one)}


@pytest.mark.parametrize(
    ("only", "said"),
    [
        (Q(chanel="web"), "names 'chanel', which shapes.TypedOrder does not have"),
        (Q(slip=1), "names 'slip', which is not a column"),
        (Q(customer__name="Ada"), "has the lookup 'name' of 'customer'"),
        (~Q(channel="web") & Q(pieces__gt=1), "has the lookup 'gt' of 'pieces'"),
        (Q(channel__isnull=1), "compares 'channel__isnull' with 1"),
        (Q(channel__in="web"), "not with a list of values"),
        (Q(pieces="many"), "compares 'pieces' with 'many', which it can't hold"),
        (Q(pieces__in=[1, F("rank")]), "which it can't hold"),
        (Q(channel="web") ^ Q(is_gift=True), "combines conditions by XOR"),
        (Q(F("is_gift")), "has the expression F(is_gift)"),
    ],
)
def test_the_checks_say_which_conditions_can_not_be_evaluated(
    only: Any, said: str, settings: Any, monkeypatch: Any
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Typed"]}
    monkeypatch.setattr(Typed, "only", only)
    [fault] = static_faults()
    assert fault.check_id == "E042"
    assert said in fault.text
    assert "exact, in and isnull" in fault.remedy


def test_previews_and_walks_see_orders_alone(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Placed"]}
    with pytest.raises(PreviewError, match="There is no order"):
        find_order()
    order, cart = (Purchase.objects.create(state=state) for state in ("open", "cart"))
    assert find_order()[1] == order
    assert find_order(str(order.pk))[1] == order
    for by_key in (False, True):
        with pytest.raises(PreviewError, match="There is no order"):
            find_order(str(cart.pk), or_by_key=by_key)
    assert order_keys(Placed(), after="", at_most=9, since=None, using="default") == [str(order.pk)]
    assert count_orders(Placed(), since=None, using="default") == 1
    assert live_faults() == []


def test_the_live_trials_read_no_cart(settings: Any, monkeypatch: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Placed"]}

    def payload(_source: Any, order: Any) -> dict[str, Any]:
        assert order.state != "cart"
        return {"total": str(order.total)}

    monkeypatch.setattr(Placed, "payload", payload)
    Purchase.objects.create(state="cart")
    assert live_faults() == []
    Purchase.objects.create(state="open")
    Purchase.objects.create(state="cart")
    assert live_faults() == []
