"""Deliveries in the admin: hostile answers are escaped, sending again tells what it did."""

import pytest

from orderhooks.models import Delivery
from tests.admin.visits import page, run, staff
from tests.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_subscription,
)

pytestmark = pytest.mark.django_db


def test_what_a_receiver_said_is_escaped(operator):
    delivery = make_delivery(state=Delivery.State.FAILED, last_detail="<script>alert(1)</script>")
    make_attempt(
        delivery,
        response_body="<script>alert(2)</script>",
        response_headers={"x-<script>alert(3)</script>": "<script>alert(4)</script>"},
        detail="<script>alert(5)</script>",
        error="<script>alert(6)</script>",
    )
    text = page(operator, f"delivery/{delivery.pk}/change/") + page(operator, "delivery/")
    assert "<script>alert" not in text
    for number in range(1, 7):
        assert f"&lt;script&gt;alert({number})&lt;/script&gt;" in text


def test_a_delivery_shows_its_attempts_to_whom_may_view_it(operator):
    delivery = make_delivery()
    make_attempt(delivery, response_body="out of stock", request_headers={"webhook-attempt": "1"})
    for client in (operator, staff("view_delivery")):
        text = page(client, f"delivery/{delivery.pk}/change/")
        assert "out of stock" in text
        assert "webhook-attempt: 1" in text
        assert 'name="_save"' not in text


def test_nobody_adds_changes_or_deletes_a_record_of_the_log(operator):
    delivery = make_delivery()
    for path in (
        "delivery/add/",
        f"delivery/{delivery.pk}/delete/",
        "event/add/",
        f"event/{delivery.event.pk}/delete/",
    ):
        page(operator, path, status=403)
    for path in (f"delivery/{delivery.pk}/change/", f"event/{delivery.event.pk}/change/"):
        assert operator.post(f"/admin/orderhooks/{path}", {"state": "delivered"}).status_code == 403


def test_redelivering_tells_how_many_were_left_and_held(operator):
    failed = make_delivery(state=Delivery.State.FAILED)
    sending = make_delivery(state=Delivery.State.SENDING)
    held = make_delivery(state=Delivery.State.FAILED, subscription=make_subscription(state="paused"))
    text = run(operator, "delivery", "redeliver", failed, sending, held)
    assert "2 deliveries are sent again" in text
    assert "1 was left alone: it is being sent" in text
    assert "1 is held until its subscription is active" in text
    states = {one.pk: one.state for one in Delivery.objects.all()}
    assert states == {failed.pk: "pending", sending.pk: "sending", held.pk: "pending"}


def test_redelivering_works_in_a_list_that_is_filtered_by_state(operator):
    delivery = make_delivery(state=Delivery.State.FAILED)
    data = {"action": "redeliver", "_selected_action": [delivery.pk]}
    operator.post("/admin/orderhooks/delivery/?state__exact=failed", data)
    delivery.refresh_from_db()
    assert delivery.state == "pending"


@pytest.mark.parametrize(
    ("record", "action", "permission"),
    [
        ("delivery", "redeliver", "change_delivery"),
        ("event", "publish_again", "change_event"),
        ("subscription", "pause", "change_subscription"),
        ("subscription", "resume", "change_subscription"),
    ],
)
def test_an_action_takes_the_permission_to_change(record, action, permission):
    make_delivery()
    offered = f'<option value="{action}">'
    assert offered not in page(staff(f"view_{record}"), f"{record}/")
    assert offered in page(staff(f"view_{record}", permission), f"{record}/")


def test_a_forged_action_does_nothing_without_the_permission():
    delivery = make_delivery(state=Delivery.State.FAILED)
    run(staff("view_delivery"), "delivery", "redeliver", delivery)
    delivery.refresh_from_db()
    assert delivery.state == "failed"


def test_the_log_is_searched_and_filtered(operator):
    one = make_delivery(event=make_event(order_number="A-1"))
    other = make_delivery(event=make_event(order_number="A-2", topic="order.closed"), state="failed")

    def found(query: str) -> list[str]:
        answer = operator.get(f"/admin/orderhooks/delivery/?{query}")
        assert answer.status_code == 200
        return [row.public_id for row in answer.context["cl"].result_list]

    assert found("q=A-1") == [one.public_id]
    assert found(f"q={other.public_id}") == [other.public_id]
    assert found(f"q={one.event.public_id}") == [one.public_id]
    assert found("state__exact=failed") == [other.public_id]
    assert found("topic=order.closed") == [other.public_id]
    assert found(f"subscription__id__exact={one.subscription.pk}") == [one.public_id]
    assert found(f"event__exact={other.event.pk}") == [other.public_id]
