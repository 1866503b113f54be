"""The delivery log: what a row says at a glance, how it is filtered, counted and searched."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks.admin import filters, read_only, topic_choices
from orderhooks.db import public_ids
from tests.admin.visits import page, part, staff
from tests.factories import make_attempt, make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db


def rows(client, query: str = "") -> list[str]:
    response = client.get(f"/admin/orderhooks/delivery/?{query}")
    assert response.status_code == 200
    return [row.public_id for row in response.context["cl"].result_list]


def choices(client, query: str = "") -> list[str]:
    """The filters' links as they read."""
    text = page(client, f"delivery/?{query}")
    links = re.findall(r'<a href="\?[^"]*">([^<]*)</a></li>', text)
    return [link.strip() for link in links]


def cells(client, query: str = "") -> dict[str, str]:
    """The first row, by column, without its tags."""
    text = page(client, f"delivery/?{query}")
    found = re.findall(r'<t[dh] class="field-(\w+)[^"]*">(.*?)</t[dh]>', text)
    return {name: re.sub("<[^>]+>", "", cell) for name, cell in found}


def test_a_row_says_at_a_glance_how_it_stands(operator):
    subscription = make_subscription(name="Warehouse")
    event = make_event(order_number="1042")
    soon = timezone.now() + timedelta(minutes=4, seconds=20)
    make_delivery(
        event=event,
        subscription=subscription,
        attempts_made=3,
        next_attempt_at=soon,
        last_status_code=503,
        last_error="status",
    )
    row = cells(operator)
    assert row.pop("created").split(" ")[-1] in ("now", "ago")
    assert row == {
        "state_badge": "pending",
        "order_number": "1042",
        "topic": "order.paid",
        "subscription_name": "Warehouse",
        "attempts_of": "3 of 10",
        "last_outcome": "responded with 503",
        "next_attempt": "in 4 min",
    }


@pytest.mark.parametrize(
    ("fields", "column", "expected"),
    [
        ({"state": "failed", "attempts_made": 11}, "attempts_of", "11"),
        ({"attempts_made": 5, "uncounted_attempts": 3}, "attempts_of", "automatic 2 of 10, 5 in all"),
        ({"state": "failed"}, "next_attempt", "-"),
        ({}, "last_outcome", "-"),
        ({"last_error": "timeout"}, "last_outcome", "did not respond in time"),
        ({"state": "delivered", "last_status_code": 204}, "last_outcome", "responded with 204"),
    ],
)
def test_a_cell_reads(operator, fields, column, expected):
    make_delivery(**fields)
    assert cells(operator)[column] == expected


def test_what_is_held_is_called_so(operator):
    make_delivery(subscription=make_subscription(state="paused"))
    row = cells(operator)
    assert (row["state_badge"], row["next_attempt"]) == ("held", "when resumed")


def test_the_log_is_searched_and_filtered(operator):
    one = make_delivery(event=make_event(order_number="A-1"), last_error="dns")
    other = make_delivery(
        event=make_event(order_number="#A-2", topic="order.closed"),
        state="failed",
        last_error="status",
        last_status_code=404,
    )
    assert rows(operator) == [other.public_id, one.public_id]
    for query, expected in {
        "q=A-1": one,
        "q=A-2": other,
        "q=%23A-1": one,
        f"q=+{other.public_id}+": other,
        f"q={one.event.public_id}": one,
        "state__exact=failed": other,
        "topic=order.closed": other,
        "response=4xx": other,
        "response=none": one,
        f"subscription__id__exact={one.subscription.pk}": one,
        f"event__exact={other.event.pk}": other,
        "state__exact=failed&topic=order.closed&response=4xx&since=24h&q=A-2": other,
    }.items():
        assert rows(operator, query) == [expected.public_id], query
    assert rows(operator, "q=A-2&response=none") == []


def test_held_shows_what_waits_for_its_subscription(operator):
    held = [make_delivery(subscription=make_subscription(state=state)) for state in ("paused", "disabled")]
    make_delivery(subscription=make_subscription(state="active"))
    make_delivery(subscription=held[0].subscription, state="delivered")
    assert rows(operator, "state__exact=held") == [held[1].public_id, held[0].public_id]
    assert {"held (2)", "pending or held (3)"} <= set(choices(operator))


def test_a_topic_is_listed_by_events_and_with_other_filters_by_deliveries_unless_it_is_out_of_use(
    operator, monkeypatch
):
    older, newer = make_event(), make_event()
    # The older event came by a replay.
    first, second = make_delivery(event=newer), make_delivery(event=older)
    by_event, by_delivery = [first.public_id, second.public_id], [second.public_id, first.public_id]
    combined = "topic=order.paid&state__exact=pending"
    assert rows(operator, "topic=order.paid") == by_event
    assert rows(operator, combined) == by_delivery
    monkeypatch.setattr(topic_choices, "NEWEST_EVENTS", 0)
    assert rows(operator, combined) == by_event


def test_a_search_for_what_no_database_holds_is_no_search(operator):
    make_delivery()
    assert len(rows(operator, "q=A%001")) == 1


@pytest.mark.parametrize(
    "query",
    [
        "state__exact=lost",
        "topic=order.%00",
        "topic=order.%00&state__exact=failed",
        "response=6xx",
        "subscription__id__exact=x",
        "subscription__id__exact=99999999999999999999",
        "subscription__id__exact=%D9%A1",
        "q=dlv_1",
        "q=evt_1",
        "q=%25",
    ],
)
def test_what_nothing_can_match_finds_nothing_and_breaks_nothing(operator, query):
    make_delivery()
    assert rows(operator, query) == []


def test_deliveries_since_a_time_in_the_users_zone(operator, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    now = timezone.now()
    old, new = (
        make_delivery(public_id=public_ids.earliest_at("dlv_", now - age)) for age in (timedelta(days=3), timedelta(0))
    )
    assert rows(operator, "since=1h") == rows(operator, "since=24h") == [new.public_id]
    assert rows(operator, "since=7d") == [new.public_id, old.public_id]
    local = timezone.localtime(now - timedelta(days=3, minutes=-5))
    assert rows(operator, f"since={local:%Y-%m-%dT%H:%M}") == [new.public_id]
    local -= timedelta(minutes=10)
    assert rows(operator, f"since={local:%Y-%m-%dT%H:%M}") == [new.public_id, old.public_id]


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01T00:00", "<b>", "0001-01-01T00:00%2B14:00"])
def test_a_date_that_is_none_is_said_to_be_none(operator, value):
    make_delivery()
    response = operator.get(f"/admin/orderhooks/delivery/?since={value}")
    assert [str(one.message) for one in response.context["messages"]] == [
        f"“{value.replace('%2B', '+')}” is not a valid date and time. Write it such as 2026-11-24T03:00."
    ]
    assert "<b>”" not in response.content.decode()
    assert list(response.context["cl"].result_list) == []


def test_the_form_of_a_date_keeps_the_search_and_the_other_filters(operator):
    text = page(operator, "delivery/?q=A-1&state__exact=failed&since=24h&p=3")
    form = part(r'<form method="get" class="orderhooks-since orderhooks-date">.*?</form>', text)
    assert re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form) == [
        ("q", "A-1"),
        ("state__exact", "failed"),
    ]


def test_each_choice_says_how_many_it_would_show(operator):
    warehouse, crm = make_subscription(name="Warehouse"), make_subscription(name="<CRM>")
    event, closed = make_event(), make_event(topic="order.closed")
    make_delivery(event=event, subscription=warehouse, state="failed", last_status_code=500, last_error="status")
    make_delivery(event=event, subscription=crm, state="delivered", last_status_code=200)
    make_delivery(event=closed, subscription=crm, state="failed", last_error="dns")
    every = choices(operator)
    for expected in (
        *("failed (2)", "delivered (1)", "pending or held (0)"),
        *("2xx (1)", "4xx (0)", "5xx (1)", "no response (1)"),
        *("the last hour (3)", "the last 7 days (3)"),
        *("order.paid (2)", "order.closed (1)", "order.created (0)"),
        *("Warehouse (1)", "&lt;CRM&gt; (2)"),
    ):
        assert expected in every, expected
    # A filter that is on narrows the counts of the others, not its own.
    failed = choices(operator, "state__exact=failed")
    for expected in ("failed (2)", "delivered (1)", "order.paid (1)", "2xx (0)", "&lt;CRM&gt; (1)"):
        assert expected in failed, expected


def test_counts_stop_at_their_bound_and_say_so(operator, monkeypatch):
    monkeypatch.setattr(filters, "BOUND", 2)
    subscription = make_subscription(name="Warehouse")
    for topic in ("order.paid", "order.closed", "order.closed"):
        make_delivery(event=make_event(topic=topic), subscription=subscription)
    every = choices(operator)
    for expected in (
        *("pending or held (2+)", "failed (0)", "no response (0)", "the last hour (2+)"),
        *("order.closed (2 of the newest 2)", "order.paid (0 of the newest 2)", "Warehouse (2 of the newest 2)"),
    ):
        assert expected in every, expected
    # With another filter on, no index finds the states; with a date, one does.
    assert "pending or held (2 of the newest 2)" in choices(operator, f"subscription__id__exact={subscription.pk}")
    assert "pending or held (2+)" in choices(operator, "since=1h")
    assert "failed (0)" in choices(operator, "topic=order.closed")


def test_a_span_that_the_newest_reach_beyond_is_counted_exactly(operator, monkeypatch):
    monkeypatch.setattr(filters, "BOUND", 2)
    now = timezone.now()
    for age in (timedelta(days=2), timedelta(hours=3), timedelta(0)):
        make_delivery(public_id=public_ids.earliest_at("dlv_", now - age))
    spans = [choice for choice in choices(operator) if choice.startswith("the last ")]
    assert spans == ["the last hour (1)", "the last 24 hours (2+)", "the last 7 days (2+)"]


@pytest.mark.parametrize(("grouped", "expected"), [(False, "2+ deliveries"), (True, "&gt;2 deliveries")])
def test_the_list_counts_and_leafs_to_its_bound(operator, monkeypatch, settings, grouped, expected):
    settings.USE_THOUSAND_SEPARATOR = grouped
    monkeypatch.setattr(read_only.BoundedPaginator, "bound", 2)
    monkeypatch.setattr(read_only.ReadOnlyAdmin, "list_per_page", 1)
    subscription = make_subscription()
    for _ in range(4):
        make_delivery(subscription=subscription)
    text = page(operator, "delivery/")
    assert expected in text
    assert "?p=2" in text
    assert "?p=3" not in text


def test_a_list_of_combined_filters_counts_less_far(operator, monkeypatch):
    monkeypatch.setattr(filters, "BOUND", 1)
    subscription = make_subscription()
    for _ in range(2):
        make_delivery(subscription=subscription)
    combined = f"delivery/?state__exact=pending&subscription__id__exact={subscription.pk}&since=1h"
    assert "1+ deliveries" in page(operator, combined)
    # Each count of a filter that is on would be a search of its own.
    counted = choices(operator, combined.removeprefix("delivery/?"))
    assert [one for one in counted if one.startswith("pending")] == ["pending or held"]
    assert "order.paid (1 of the newest 1)" in counted
    assert "2 deliveries" in page(operator, "delivery/?state__exact=pending&since=1h")


def test_a_number_within_the_bound_is_shown_exactly(operator, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    assert str(read_only.Total(1234, bound=1234)) == "1234"  # Django groups it
    make_delivery()
    assert "1 delivery" in page(operator, "delivery/")


def test_no_column_of_the_query_string_sorts_the_log(operator):
    first, last = make_delivery(), make_delivery()
    assert rows(operator, "o=1") == rows(operator, "o=-2.3") == [last.public_id, first.public_id]


def test_hostile_text_in_the_list_and_its_filters_is_shown_and_not_run(operator):
    script = "<script>alert(1)</script>"
    event = make_event(order_number=script)
    delivery = make_delivery(event=event, subscription=make_subscription(name=script), last_error=script)
    make_attempt(delivery)
    for query in ("", f"q={script}", f"topic={script}", f"since={script}"):
        text = page(operator, f"delivery/?{query}")
        assert script not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


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


def test_users_who_see_the_log_need_no_other_permission():
    make_delivery()
    assert len(rows(staff("view_delivery"))) == 1
    page(staff("view_event"), "delivery/", status=403)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("response=4o4", "“4o4” is not a choice of the filter “last response”: no row is shown."),
        ("state__exact=nix", "“nix” is not a choice of the filter “state”: no row is shown."),
        ("topic=order.foo", "“order.foo” is not a choice of the filter “topic”: no row is shown."),
        ("failure=nix", "“nix” is not a choice of the filter “kind of failure”: no row is shown."),
        ("since=2026-11-24T05:00&until=2026-11-24T03:00", "“Since” is later than “Until”: no row is shown."),
        ("since=1h&until=2020-11-24T03:00", "“Since” is later than “Until”: no row is shown."),
    ],
)
def test_a_list_that_can_only_be_empty_says_why(operator, query, text):
    make_delivery()
    shown = page(operator, f"delivery/?{query}")
    assert (shown.count(text), "0 deliveries" in shown) == (1, True)


@pytest.mark.parametrize("query", ["", "response=404", "state__exact=held", "since=1h&until=2999-01-01T00:00"])
def test_a_list_that_is_empty_by_chance_says_nothing(operator, query):
    assert "no row is shown" not in page(operator, f"delivery/?{query}")
