"""An order's page that is opened and saved writes nothing; a page of lines at a time, however many there are."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from orderhooks.models import Change, Event, Order, OrderLine
from tests.factories import LINE, make_order, make_subscription

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def form_of(client: Any, address: str) -> dict[str, Any]:
    """What a browser would send of the page: line ends of text areas as CR LF, of lines left out."""
    context = client.get(address).context
    forms = [context["adminform"].form]
    sent = {}
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.initial_forms]
    for form in forms:
        for bound in form:
            widget = bound.field.widget.get_context(bound.html_name, bound.value(), {"id": "x"})["widget"]
            for part in widget.get("subwidgets") or [widget]:
                value = part["value"]
                if part.get("type") == "checkbox" and not part.get("attrs", {}).get("checked"):
                    continue
                value = value[0] if isinstance(value, list) else value
                text = "" if value is None else str(value)
                ends = "\r\n" if "textarea" in part["template_name"] else ""
                sent[part["name"]] = "on" if part.get("type") == "checkbox" else text.replace("\n", ends)
    return sent


def values(order: Order) -> Any:
    rows = OrderLine.objects.filter(order=order).order_by("pk")
    found = Order.objects.filter(pk=order.pk).values().get()
    return {name: value for name, value in found.items() if name != "updated_at"}, list(rows.values())


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    "fields",
    [
        {"placed_at": datetime(2026, 11, 24, 3, 4, 5, 678901, tzinfo=UTC)},
        # 02:30 in Berlin comes twice that night.
        {"placed_at": datetime(2026, 10, 25, 0, 30, tzinfo=UTC)},
        {"placed_at": datetime(2026, 10, 25, 1, 30, 0, 5, tzinfo=UTC)},
        {"total": Decimal("0.0001"), "tax": Decimal("12345678901.3456"), "subtotal": Decimal(10)},
        {"metadata": {"b": 1, "a": [1.0, 1e300, None, "ü\n\u2028", {"": "  "}]}, "billing_address": {"z": 1, "a": ""}},
        {"note": "a\nb\r\nc\n", "customer_name": "  Ada \n Lovelace ", "store": " eu "},
    ],
    ids=["microseconds", "twice, first", "twice, second", "decimals", "json", "text"],
)
def test_an_order_opened_and_saved_is_as_it_was(operator, zone: str, fields: dict[str, Any]) -> None:
    order = make_order([LINE, {"name": " two\nlines ", "unit_price": "0.0001"}], **fields)
    make_subscription()
    Event.objects.all().delete()
    before = values(order)
    address = f"/admin/orderhooks/order/{order.pk}/change/"
    with override_settings(TIME_ZONE=zone):
        response = operator.post(address, form_of(operator, address))
    assert response.status_code == 302, response.context["errors"]
    assert values(order) == before
    assert not Event.objects.exists()
    assert not Change.objects.exists()


def test_what_is_altered_is_written_and_the_rest_is_not(operator) -> None:
    at = datetime(2026, 11, 24, 3, 4, 5, 678901, tzinfo=UTC)
    order = make_order(placed_at=at, note="a\nb")
    address = f"/admin/orderhooks/order/{order.pk}/change/"
    assert operator.post(address, {**form_of(operator, address), "note": "a\r\nc"}).status_code == 302
    order.refresh_from_db()
    assert order.note.splitlines() == ["a", "c"]
    assert order.placed_at == at


@pytest.mark.parametrize("query", ["", "?lines=2", "?lines=5", "?lines=999", "?lines=x"])
def test_an_order_of_many_lines_is_opened_and_saved(operator, query: str) -> None:
    order = make_order(lines=[])
    OrderLine.objects.bulk_create([OrderLine(order=order, **{**LINE, "sku": f"S{number}"}) for number in range(230)])
    address = f"/admin/orderhooks/order/{order.pk}/change/{query}"
    form = form_of(operator, address)
    assert len(form) < 500
    assert operator.post(address, {**form, "lines-0-quantity": "7"}).status_code == 302
    changed = OrderLine.objects.get(quantity=7)
    assert changed.pk == int(form["lines-0-id"])
    assert OrderLine.objects.filter(order=order).count() == 230
    assert OrderLine.objects.filter(order=order, quantity=2).count() == 229


def test_a_line_of_another_order_is_not_reached(operator) -> None:
    order, other = make_order(), make_order()
    line = other.lines.get()
    address = f"/admin/orderhooks/order/{order.pk}/change/"
    sent = {**form_of(operator, address), "lines-0-id": str(line.pk), "lines-0-quantity": "9"}
    operator.post(address, sent)
    line.refresh_from_db()
    assert line.quantity == 2
    assert line.order_id == other.pk
