"""Events in the admin: what receivers get, for users who may see it, and publishing again."""

import pytest

from orderhooks.admin import events
from orderhooks.models import CaptureFailure, Event
from tests.admin.visits import history_of, page, run, staff
from tests.factories import (
    make_delivery,
    make_event,
    make_failed_event,
    make_order,
)
from tests.publications import payload_of

pytestmark = pytest.mark.django_db


def failed_event_of_an_order() -> Event:
    order = make_order()
    return make_failed_event(order_pk=str(order.pk), order_number=order.number)


def test_an_event_shows_its_payload_escaped_and_links_its_deliveries(operator):
    event = make_event(payload={"order": {"note": "<b>bold</b> Grüße"}})
    make_delivery(event=event)
    text = page(operator, f"event/{event.pk}/change/")
    assert "&lt;b&gt;bold&lt;/b&gt; Grüße" in text
    assert f"/admin/orderhooks/delivery/?event__exact={event.pk}" in text
    assert "1 delivery" in text


def test_the_content_of_an_event_takes_its_own_permission():
    event = make_event(payload={"order": {"note": "a secret wish"}}, changes={"note": ["", "a secret wish"]})
    for permissions, count in ((["view_payload"], 4), (["change_event", "redeliver_delivery"], 0)):
        text = page(staff("view_event", *permissions), f"event/{event.pk}/change/")
        assert text.count("a secret wish") == count


def test_an_error_which_may_quote_the_order_is_shown_to_who_sees_payloads(django_capture_on_commit_callbacks):
    order = make_order()
    event = make_failed_event(
        source="orderhooks", order_pk=str(order.pk), order_number=order.number, error="KeyError: 'ada@example.com'"
    )
    with django_capture_on_commit_callbacks(execute=True):
        CaptureFailure.objects.record(source="shop", order_pk="1", error="KeyError: 'ada@example.com'")
    pages = [
        ("event/", ""),
        (f"event/{event.pk}/change/", "To see why takes the permission to see payloads."),
        (f"order/{order.pk}/change/", "Not published: its payload could not be built."),
        (f"dashboard/order/?number={order.number}", "Not published: its payload could not be built."),
        ("dashboard/", "`manage.py orderhooks_status` shows the error."),
    ]
    view = ("view_event", "view_order", "view_delivery")
    may, may_not = staff(*view, "view_payload"), staff(*view)
    for address, instead in pages:
        assert "KeyError: &#x27;ada@example.com&#x27;" in page(may, address), address
        text = page(may_not, address)
        assert "ada@example.com" not in text, address
        assert instead in text, address


def test_how_many_deliveries_there_are_takes_the_permission_to_see_them():
    event = make_delivery().event
    assert "1 delivery" not in page(staff("view_event"), f"event/{event.pk}/change/")
    assert "1 delivery" in page(staff("view_event", "view_delivery"), f"event/{event.pk}/change/")


def test_publishing_again_says_what_worked_and_is_in_the_history(operator):
    repaired = failed_event_of_an_order()
    gone = make_failed_event(order_pk="0")
    untouched = make_event(payload={"as": "it was"})
    text = run(operator, "event", "publish_again", repaired, gone, untouched)
    assert "1 event was published" in text
    assert "1 event could not be published" in text
    repaired = Event.objects.get(public_id=repaired.public_id)  # with a new sequence
    gone.refresh_from_db()
    untouched.refresh_from_db()
    assert payload_of(repaired)["order"]["number"] == repaired.order_number
    assert gone.published_at is None
    assert untouched.payload == {"as": "it was"}
    assert [[message for _user, message in history_of(one)] for one in (repaired, gone, untouched)] == [
        ["Published again."],
        [],
        [],
    ]


def test_no_more_are_published_at_once_than_a_page_may_take(operator, monkeypatch):
    monkeypatch.setattr(events, "MOST", 1)
    first, second = failed_event_of_an_order(), failed_event_of_an_order()
    text = run(operator, "event", "publish_again", first, second)
    assert "Only the first 1 are published now." in text
    first, second = (Event.objects.get(public_id=one.public_id) for one in (first, second))
    assert (first.published_at is None, second.published_at is None) == (False, True)


def test_one_is_published_again_by_its_button():
    event, published = failed_event_of_an_order(), make_event()
    client = staff("view_event", "redeliver_delivery")
    assert f'formaction="/admin/orderhooks/event/{event.pk}/publish/"' in page(client, f"event/{event.pk}/change/")
    response = client.post(f"/admin/orderhooks/event/{event.pk}/publish/", follow=True)
    assert "1 event was published" in response.content.decode()
    response = client.post(f"/admin/orderhooks/event/{published.pk}/publish/", follow=True)
    assert "It was already published." in response.content.decode()
    event = Event.objects.get(public_id=event.public_id)
    assert event.published_at is not None


def test_publishing_again_takes_the_permission_to_redeliver():
    event = failed_event_of_an_order()
    client = staff("view_event", "change_event", "view_payload")
    assert '<option value="publish_again">' not in page(client, "event/")
    data = {"action": "publish_again", "_selected_action": [event.pk]}
    assert client.post("/admin/orderhooks/event/", data).status_code == 403
    assert client.post(f"/admin/orderhooks/event/{event.pk}/publish/").status_code == 403
    event.refresh_from_db()
    assert event.published_at is None
    assert '<option value="publish_again">' in page(staff("view_event", "redeliver_delivery"), "event/")


def test_events_with_an_error_can_be_found(operator):
    make_event()
    failed = make_failed_event(error="KeyError: <tax>")
    response = operator.get("/admin/orderhooks/event/?published=no")
    assert [row.pk for row in response.context["cl"].result_list] == [failed.pk]
    assert "KeyError: &lt;tax&gt;" in response.content.decode()


def test_events_are_searched_by_number_and_id_and_filtered_by_topic(operator):
    one, other = make_event(order_number="A-1"), make_event(order_number="A-2", topic="order.closed")

    def found(query: str) -> list[int]:
        return [row.pk for row in operator.get(f"/admin/orderhooks/event/?{query}").context["cl"].result_list]

    assert found("") == [other.pk, one.pk]
    assert found("q=A-1") == found("q=%23A-1") == found(f"q={one.public_id}") == [one.pk]
    assert found("topic=order.closed") == [other.pk]
    assert found("o=1") == [other.pk, one.pk]
