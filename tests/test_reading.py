"""SQL that is compiled once: what changes from run to run is put where it belongs, or an error says so."""

from typing import Any

import pytest
from django.db.models import Value
from django.db.models.functions import Coalesce

from orderhooks import sources
from orderhooks.models import Order
from tests.factories import make_order
from tests.shapes.models import ManagedOrder, SortedOrder

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_query_that_does_not_end_with_its_value_is_refused() -> None:
    def make(rows: Any) -> Any:
        return rows.filter(pk=1).order_by(Coalesce("note", Value("none")))

    with pytest.raises(sources.StatementError, match="Override fetch"):
        sources.rows(Order, "by note", using="default", make=make, last=1)


def test_orderings_and_managers_of_the_store_are_not_used() -> None:
    assert not sources.plain(SortedOrder, "default").query.get_compiler("default").get_order_by()
    ManagedOrder(state="open").save()
    assert [order.state for order in sources.plain(ManagedOrder, "default")] == ["open"]


def test_each_run_gets_the_row_of_its_value() -> None:
    orders = [make_order([], note=str(number)) for number in range(3)]
    for order in orders:
        row = sources.read_columns(Order, ("note", "id"), {"id": order.pk}, using="default")
        assert row == {"note": order.note, "id": order.pk}
    assert sources.read_columns(Order, ("note", "id"), {"id": 2**31 - 1}, using="default") is None
