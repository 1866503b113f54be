"""Events in the admin: the payload, and publishing again."""

import pytest

from tests.admin.visits import page, run
from tests.factories import (
    make_delivery,
    make_event,
    make_failed_event,
    make_order,
)

pytestmark = pytest.mark.django_db


def test_an_event_shows_its_payload_escaped_and_links_its_deliveries(operator):
    event = make_event(payload={"order": {"note": "<b>bold</b> Grüße"}})
    make_delivery(event=event)
    text = page(operator, f"event/{event.pk}/change/")
    assert "&lt;b&gt;bold&lt;/b&gt; Grüße" in text
    assert f"/admin/orderhooks/delivery/?event__exact={event.pk}" in text
    assert "1 delivery" in text


def test_publishing_again_tells_what_worked(operator):
    order = make_order()
    mended = make_failed_event(order_pk=str(order.pk), order_number=order.number)
    gone = make_failed_event(order_pk="0")
    untouched = make_event(payload={"as": "it was"})
    text = run(operator, "event", "publish_again", mended, gone, untouched)
    assert "1 event was published" in text
    assert "1 event could not be published" in text
    mended.refresh_from_db()
    gone.refresh_from_db()
    untouched.refresh_from_db()
    assert mended.payload["order"]["number"] == order.number
    assert gone.published_at is None
    assert untouched.payload == {"as": "it was"}


def test_events_with_an_error_can_be_found(operator):
    make_event()
    failed = make_failed_event(error="KeyError: <tax>")
    answer = operator.get("/admin/orderhooks/event/?published=no")
    assert [row.pk for row in answer.context["cl"].result_list] == [failed.pk]
    assert "KeyError: &lt;tax&gt;" in answer.content.decode()
