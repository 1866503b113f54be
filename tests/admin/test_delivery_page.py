"""A delivery's page: the summary first, then its attempts; requests and responses for users who may see them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orderhooks import sending
from orderhooks.admin import delivery_page
from orderhooks.models import Delivery
from orderhooks.reporting import durations
from tests.admin.visits import history_of, page, part, staff
from tests.factories import due_at, make_attempt, make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db


def page_of(client: Client, delivery: Delivery) -> str:
    return page(client, f"delivery/{delivery.pk}/change/")


def story_of(client: Client, delivery: Delivery) -> str:
    summary = part(r'<div class="orderhooks-summary">.*?</div>', page_of(client, delivery))
    return " ".join(re.sub("<[^>]+>", " ", summary).split())


def press(client: Client, delivery: Delivery, button: str) -> Any:
    return client.post(f"/admin/orderhooks/delivery/{delivery.pk}/{button}/", follow=True)


def failing(**fields) -> Delivery:
    """A delivery to which the warehouse responded with 503 three times."""
    soon = timezone.now() + timedelta(minutes=4, seconds=20)
    delivery = make_delivery(
        **{
            "subscription": make_subscription(name="Warehouse"),
            "event": make_event(order_number="1042"),
            "attempts_made": 3,
            "next_attempt_at": soon,
            **fields,
        }
    )
    for _ in range(3):
        make_attempt(delivery, status_code=503, error="status")
    return delivery


def test_the_summary_comes_first(operator):
    delivery = failing()
    expected = "pending Warehouse responded with 503 three times. The next try is in 4 min (attempt 4 of 10)."
    assert story_of(operator, delivery) == expected
    text = page_of(operator, delivery)
    assert text.index("orderhooks-summary") < text.index("Redeliver now") < text.index("orderhooks-attempt")


def test_the_next_attempt_is_shown_as_a_distance_and_as_a_time(operator):
    delivery = failing()
    at = durations.time_text(due_at(delivery), now=timezone.now())
    text = page_of(operator, delivery)
    assert f'in 4 min <span class="orderhooks-hint">({at})</span>' in text
    assert "3 of 10" in text


def test_what_waits_for_another_of_its_order_leads_to_it_and_back(operator):
    subscription = make_subscription(ordered=True)
    head, waits, last = (
        make_delivery(event=make_event(), subscription=subscription, state=state)
        for state in ("failed", "pending", "pending")
    )
    assert f"earlier event {head.event.public_id}, which failed" in story_of(operator, waits)
    assert f'<a href="/admin/orderhooks/delivery/{head.pk}/change/">See the delivery that it waits for' in page_of(
        operator, waits
    )
    assert "It holds up 2 later deliveries of order 1001" in story_of(operator, head)
    assert f'<a href="/admin/orderhooks/delivery/{waits.pk}/change/">See the next delivery that waits' in page_of(
        operator, head
    )
    assert "It holds up" not in story_of(operator, last)


def test_attempts_are_shown_newest_first_with_what_caused_them(operator):
    delivery = failing()
    make_attempt(delivery, trigger="manual", requested_by="alice")
    text = page_of(operator, delivery)
    titles = re.findall(r"<strong>(attempt [^<]*)</strong>\s*<span>([^<]*)</span>", text)
    assert titles == [
        ("attempt 4 of 10", "manual: alice"),
        ("attempt 3 of 10", "automatic"),
        ("attempt 2 of 10", "automatic"),
        ("attempt 1 of 10", "automatic"),
    ]


def test_after_a_redelivery_attempts_are_numbered_without_the_retry_table(operator):
    text = page_of(operator, failing(uncounted_attempts=2))
    assert re.findall(r"<strong>(attempt [^<]*)</strong>", text) == ["attempt 3", "attempt 2", "attempt 1"]
    assert "1 of 10" in text


def test_only_the_newest_attempts_are_shown(operator, monkeypatch):
    monkeypatch.setattr(delivery_page, "MOST_ATTEMPTS", 2)
    text = page_of(operator, failing())
    assert text.count('class="orderhooks-attempt"') == 2
    assert "Only the newest 2 attempts are shown." in text


def test_attempts_that_retention_deleted_are_not_called_still_to_come(operator):
    made = make_delivery(state="delivered", attempts_made=2)
    assert "They are no longer kept." in page(operator, f"delivery/{made.pk}/change/")
    assert "None yet." in page(operator, f"delivery/{make_delivery().pk}/change/")


def test_requests_and_responses_take_a_permission_of_their_own():
    delivery = make_delivery(event=make_event(payload={"order": {"note": "a secret wish"}, "changes": {}}))
    make_attempt(
        delivery,
        response_body="out of stock",
        request_headers={"webhook-attempt": "1"},
        response_headers={"x-hint": "later"},
    )
    confidential = ("out of stock", "webhook-attempt: 1", "x-hint: later", "a secret wish", "WEBHOOK_SECRET")
    text = page_of(staff("view_delivery", "view_payload"), delivery)
    assert [word for word in confidential if word not in text] == []
    text = page_of(staff("view_delivery", "redeliver_delivery", "view_event", "change_delivery"), delivery)
    assert [word for word in confidential if word in text] == []
    assert "responded with 200 once" in text


def test_what_a_receiver_said_is_escaped(operator):
    delivery = make_delivery(state=Delivery.State.FAILED, attempts_made=1)
    make_attempt(
        delivery,
        response_body="<script>alert(1)</script>",
        response_headers={"x-<script>alert(2)</script>": "<script>alert(3)</script>"},
        request_headers={"<script>alert(4)</script>": "1"},
        detail="<script>alert(5)</script>",
        error="<script>alert(6)</script>",
        requested_by="<script>alert(7)</script>",
    )
    text = page_of(operator, delivery)
    assert "<script>alert" not in text
    for number in range(1, 8):
        assert f"&lt;script&gt;alert({number})&lt;/script&gt;" in text


def test_headers_named_like_pythons_own_break_nothing(operator):
    delivery = make_delivery()
    make_attempt(delivery, response_headers={"items": "12", "keys": "3", "forloop": "4"})
    text = page_of(operator, delivery)
    assert [line for line in ("items: 12\n", "keys: 3\n", "forloop: 4\n") if line not in text] == []


def test_a_payload_and_a_name_are_escaped_in_the_script_too(operator):
    hostile = "</textarea></pre><script>alert(1)</script>"
    event = make_event(payload={"order": {"note": hostile}, "changes": {}}, order_number=hostile)
    delivery = make_delivery(event=event, subscription=make_subscription(name=hostile))
    assert hostile not in page_of(operator, delivery)


def test_links_lead_only_where_one_may_go():
    delivery = failing()
    links = [f"/admin/orderhooks/{record}/" for record in ("event", "subscription")]
    text = page_of(staff("view_delivery"), delivery)
    assert [link for link in links if f'href="{link}' in text] == []
    assert "Warehouse" in text
    text = page_of(staff("view_delivery", "view_event", "view_subscription"), delivery)
    assert [link for link in links if f'href="{link}' not in text] == []


def test_the_script_is_plain_text_for_those_who_may_see_payloads():
    delivery = make_delivery()
    path = f"/admin/orderhooks/delivery/{delivery.pk}/curl/"
    assert staff("view_delivery", "redeliver_delivery").get(path).status_code == 403
    assert staff("view_payload").get(path).status_code == 403
    client = staff("view_delivery", "view_payload")
    response = client.get(path)
    assert response.content.decode() == sending.curl_script(delivery)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in response.headers["cache-control"]
    assert client.get("/admin/orderhooks/delivery/0/curl/").status_code == 404


def test_redelivery_by_the_button_is_marked_and_written_down():
    client = staff("view_delivery", "redeliver_delivery")
    name = client.get("/admin/").wsgi_request.user.get_username()
    delivery = failing(state="failed")
    text = press(client, delivery, "redeliver").content.decode()
    assert "1 delivery is sent again." in text
    delivery.refresh_from_db()
    assert (delivery.state, delivery.trigger, delivery.requested_by) == ("pending", "manual", name)
    assert history_of(delivery) == [(name, "Redelivered.")]
    assert f"{name} asked for it to be sent." in story_of(client, delivery)
    assert "Redelivered." in page(client, f"delivery/{delivery.pk}/history/")


def test_skipping_lets_an_ordered_subscriptions_next_event_go(operator):
    subscription = make_subscription(ordered=True)
    head, waits = (
        make_delivery(event=make_event(), subscription=subscription, state=state) for state in ("failed", "pending")
    )
    press(operator, head, "skip")
    head.refresh_from_db()
    assert head.state == "skipped"
    assert waits.blockers().first() is None
    assert [message for _user, message in history_of(head)] == ["Skipped."]


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("pending", {"redeliver", "skip"}),
        ("failed", {"redeliver", "skip"}),
        ("delivered", {"redeliver"}),
        ("skipped", {"redeliver"}),
        ("sending", set()),
    ],
)
def test_a_button_is_there_where_it_makes_sense_and_for_users_who_may_press_it(state, buttons):
    delivery = make_delivery(state=state)
    may, may_not = staff("view_delivery", "redeliver_delivery"), staff("view_delivery", "change_delivery")
    offered = set(re.findall(rf'formaction="/admin/orderhooks/delivery/{delivery.pk}/(\w+)/"', page_of(may, delivery)))
    assert offered == buttons
    assert "formaction" not in page_of(may_not, delivery)
    for button in ("redeliver", "skip"):
        assert press(may_not, delivery, button).status_code == 403
    for button in {"redeliver", "skip"} - buttons:
        response = press(may, delivery, button)
        assert response.redirect_chain == [(f"/admin/orderhooks/delivery/{delivery.pk}/change/", 302)]
        assert {"sending": "being sent now", "delivered": "has been delivered", "skipped": "already skipped"}[
            state
        ] in part('<ul class="messagelist">.*?</ul>', response.content.decode())
    delivery.refresh_from_db()
    assert delivery.state == state
    assert history_of(delivery) == []


def test_a_test_is_not_offered_again(operator):
    delivery = make_delivery(state="failed", trigger="test", attempts_made=1)
    assert "A test is not sent again" in press(operator, delivery, "redeliver").content.decode()
    delivery.refresh_from_db()
    assert delivery.state == "failed"
    text = page_of(operator, delivery)
    assert f"/delivery/{delivery.pk}/redeliver/" not in text
    assert "1 of 1" in text


def test_redelivery_what_is_held_says_so(operator):
    delivery = failing(state="failed", subscription=make_subscription(state="paused"))
    text = press(operator, delivery, "redeliver").content.decode()
    assert "1 delivery is held until its subscription is active" in text
    assert "sent again" not in text
    assert story_of(operator, delivery).startswith("held")
