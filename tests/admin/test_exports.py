"""The log as CSV: what the filters show, streamed, and harmless in a spreadsheet."""

import csv
import io
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from orderhooks.admin import exports
from orderhooks.models import Delivery
from tests.admin.visits import staff
from tests.factories import make_attempt, make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db


def export(client, query: str = "", *ticked: Delivery) -> list[dict[str, str]]:
    data = {"action": "export", "index": "0", **({"_selected_action": [row.pk for row in ticked]} if ticked else {})}
    response = client.post(f"/admin/orderhooks/delivery/?{query}", data)
    assert response.status_code == 200
    assert response.streaming
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="deliveries.csv"'
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_describes_a_delivery(operator):
    at = datetime(2026, 11, 24, 3, 0, 7, 9, tzinfo=UTC)
    delivery = make_delivery(
        event=make_event(order_number="1042", store="kyoto"),
        subscription=make_subscription(name='Warehouse, "north"\nKöln'),
        state="failed",
        attempts_made=10,
        trigger="manual",
        requested_by="alice",
        last_status_code=503,
        last_error="status",
        last_detail="It responded with 503.",
        created_at=at,
        finished_at=at,
    )
    assert export(operator) == [
        {
            "delivery": delivery.public_id,
            "state": "failed",
            "order_number": "1042",
            "source": "orderhooks",
            "store": "kyoto",
            "topic": "order.paid",
            "event": delivery.event.public_id,
            "subscription": delivery.subscription.public_id,
            "subscription_name": 'Warehouse, "north"\nKöln',
            "url": delivery.subscription.url,
            "attempts_made": "10",
            "trigger": "manual",
            "requested_by": "alice",
            "last_status_code": "503",
            "last_error": "status",
            "last_outcome": "It responded with 503.",
            "next_attempt_at": "",
            "created_at": "2026-11-24T03:00:07+00:00",
            "finished_at": "2026-11-24T03:00:07+00:00",
        }
    ]


def test_filters_search_and_ticks_are_honoured(operator):
    one = make_delivery(event=make_event(order_number="A-1"))
    other = make_delivery(event=make_event(order_number="A-2", topic="order.closed"), state="failed")

    def exported(query: str = "", *ticked: Delivery) -> list[str]:
        return [row["delivery"] for row in export(operator, query, *ticked)]

    assert exported() == [other.public_id, one.public_id]
    assert exported("state__exact=failed") == [other.public_id]
    assert exported("topic=order.closed") == [other.public_id]
    assert exported("q=A-1") == [one.public_id]
    assert exported("q=A-1&state__exact=failed") == []
    assert exported("", one) == [one.public_id]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_no_cell_is_a_formula(operator, sign):
    hostile = f"{sign}cmd|'/C calc'!A1"
    make_delivery(
        event=make_event(order_number=hostile, store=hostile),
        subscription=make_subscription(name=hostile),
        requested_by=hostile,
        last_detail=hostile,
    )
    [row] = export(operator)
    for column in ("order_number", "store", "subscription_name", "requested_by", "last_outcome"):
        assert row[column] == "'" + hostile


def test_it_goes_page_by_page_and_misses_none(operator, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", 2)
    subscription = make_subscription()
    rows = [make_delivery(subscription=subscription).public_id for _ in range(6)]
    with django_assert_num_queries(4):
        lines = list(exports._lines(Delivery.objects.all(), zone=UTC, columns=exports.COLUMNS))
    assert [line.split(",")[0] for line in lines[1:]] == rows[::-1]
    assert [row["delivery"] for row in export(operator)] == rows[::-1]


def test_it_begins_before_the_log_is_read(django_assert_num_queries):
    make_delivery()
    with django_assert_num_queries(0):
        response = exports.export(Delivery.objects.all())
        assert next(iter(response)).startswith("\ufeffdelivery,state,".encode())


def test_times_are_in_the_zone_of_the_user():
    delivery = make_delivery(created_at=datetime(2026, 11, 24, 3, tzinfo=UTC))
    with timezone.override(ZoneInfo("Asia/Tokyo")):
        response = exports.export(Delivery.objects.filter(pk=delivery.pk))
    assert b"2026-11-24T12:00:00+09:00" in b"".join(response)


def test_payloads_and_responses_stay_out_of_it(operator):
    delivery = make_delivery(event=make_event(payload={"order": {"note": "a wish"}, "changes": {}}))
    make_attempt(delivery, response_body="out of stock")
    for client in (operator, staff("view_delivery")):
        text = str(export(client))
        assert "a wish" not in text
        assert "out of stock" not in text


def test_it_takes_the_permission_to_see_the_log():
    data = {"action": "export", "index": "0"}
    assert staff("view_event").post("/admin/orderhooks/delivery/", data).status_code == 403
