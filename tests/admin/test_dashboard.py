"""The dashboard: the last day in a chart and a table, what waits, which endpoints fail, whether a worker is there."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import Schedule

from orderhooks.admin.dashboard import WORST, milliseconds, sweep_notice, worker_notice
from orderhooks.models import Pump
from orderhooks.models.attempt_stats import bucket_of
from orderhooks.tasks.names import SWEEP_SCHEDULE
from tests.admin.visits import page, staff
from tests.factories import (
    START_WORKER,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_failed_event,
    make_order,
    make_subscription,
    make_worker,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 10, 17, 5, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def test_events_without_a_payload_are_reported() -> None:
    make_failed_event()
    text = page(staff("view_event", "view_subscription", "view_delivery"), "dashboard/")
    assert "1 event has no payload. See its error in the admin, fix the source, and publish it again." in text


@pytest.mark.parametrize(
    ("is_fresh", "seen_at", "level", "text"),
    [
        (True, NOW - 2 * SECOND, "good", "A worker was seen 2 s ago."),
        (True, NOW + SECOND, "good", "A worker was seen 0 s ago."),
        (False, NOW - 40 * SECOND, "good", "A worker was seen 40 s ago; it comes again when there is work."),
        (False, NOW - 7 * MINUTE, "bad", f"No worker has been seen for 7 min. {START_WORKER}"),
        (False, None, "bad", f"No worker has ever been seen. {START_WORKER}"),
    ],
)
def test_whether_a_worker_is_there(is_fresh, seen_at, level, text) -> None:
    notice = worker_notice(make_worker(is_fresh, seen_at, None), now=NOW)
    assert (notice.level, notice.text.replace("\xa0", " ")) == (level, text)


@pytest.mark.parametrize(
    ("due_at", "at_work", "seen_at", "level", "text"),
    [
        (NOW + 34 * SECOND, True, NOW, "good", "The sweep, which starts a worker each minute, is next due in 34 s."),
        (NOW - 30 * SECOND, True, NOW, "good", "The sweep, which starts a worker each minute, has been due for 30 s."),
        (
            NOW - 7 * MINUTE,
            False,
            NOW - 6 * MINUTE,
            "bad",
            f"The sweep, which starts a worker each minute, has been due for 7 min. {START_WORKER}",
        ),
        (
            NOW - 7 * MINUTE,
            False,
            None,
            "bad",
            f"The sweep, which starts a worker each minute, has been due for 7 min. {START_WORKER}",
        ),
        # After an outage django-q2 starts each sweep of it, unless a setting says not to: all is well by then.
        (
            NOW - 20 * MINUTE,
            True,
            NOW,
            "good",
            "The sweep, which starts a worker each minute, is late; a worker was seen 0 s ago.",
        ),
        (
            NOW - 20 * MINUTE,
            False,
            NOW - 40 * SECOND,
            "good",
            "The sweep, which starts a worker each minute, is late; a worker was seen",
        ),
        (None, False, None, "held", "The sweep, which starts a worker each minute, is off."),
    ],
)
def test_whether_the_sweep_is_started(due_at, at_work, seen_at, level, text) -> None:
    notice = sweep_notice(make_worker(at_work, seen_at, due_at), now=NOW)
    assert notice.level == level
    assert notice.text.replace("\xa0", " ").startswith(text)


@pytest.mark.parametrize(("time", "text"), [(None, "-"), (0.4, "0 ms"), (123.4, "123 ms"), (1500.0, "1.5 s")])
def test_times_of_receivers(time, text) -> None:
    assert milliseconds(time) == text


class TestThePage:
    def test_is_in_the_apps_section_and_shows_that_all_is_well(self, operator) -> None:
        Pump.objects.create()
        Schedule.objects.update_or_create(name=SWEEP_SCHEDULE, defaults={"next_run": timezone.now() + MINUTE})
        assert "/admin/orderhooks/dashboard/" in page(operator, "")
        text = page(operator, "dashboard/")
        for words in ("A worker was seen", "is next due", "Nothing waits to be sent.", "No subscription has trouble."):
            assert words in text
        assert "orderhooks-bad" not in text

    def test_says_what_to_do_when_nobody_is_there(self, operator) -> None:
        Schedule.objects.update_or_create(name=SWEEP_SCHEDULE, defaults={"next_run": timezone.now() - HOUR})
        text = page(operator, "dashboard/")
        assert f"No worker has ever been seen. {START_WORKER}" in text

    def test_counts_what_no_worker_has_taken_up(self, operator) -> None:
        now = timezone.now()
        Pump.objects.create(started_at=now - HOUR, beat_at=now - 5 * MINUTE, ended=True)
        make_event(routed_at=None, published_at=now - 4 * MINUTE)
        text = page(operator, "dashboard/")
        assert "1 new event waits to be sent, the oldest for 4 min." in text
        assert "Nothing waits to be sent." not in text
        assert "No subscription has trouble." not in text
        assert text.index("No worker has been seen") < text.index("1 new event waits")
        assert "No worker has been seen for 5 min." in page(operator, "dashboard/order/?number=1001")

    def test_the_age_of_what_is_new_is_not_that_of_a_delivery(self, operator) -> None:
        make_delivery(created_at=timezone.now() - 15 * MINUTE)
        make_event(routed_at=None, published_at=timezone.now() - 4 * MINUTE)
        text = page(operator, "dashboard/").replace("\xa0", " ")
        assert "1 new event waits to be sent, the oldest for 4 min." in text

    def test_shows_the_attempts_in_a_chart_and_in_a_table(self, operator) -> None:
        now = timezone.now()
        subscription, other = make_subscription(), make_subscription()
        make_attempt_stats(subscription, 900, bucket=bucket_of(10))
        make_attempt_stats(other, 57, outcome="5xx", bucket=bucket_of(10))
        make_attempt_stats(other, 43, outcome="timeout", bucket=bucket_of(15_000))
        make_attempt_stats(other, 7000, outcome="other", bucket=0)
        make_attempt_stats(subscription, 12, at=now - 5 * HOUR, bucket=bucket_of(10))
        make_attempt_stats(subscription, 5555, at=now - 30 * HOUR)
        text = page(operator, "dashboard/")
        hours = text.split("<tbody>")[1]
        running = hours.split("</tr>")[0]
        assert [running.count(f"<td>{count}</td>") for count in (900, 57, 43, "7,000")] == [1, 1, 1, 1]
        assert "<td>12</td>" in hours.split("</tr>")[5]
        assert "5,555" not in text
        assert "Most in an hour: 8,000" in text
        assert "900 × 2xx" in text
        # 7000 were not reached: they say nothing about how long receivers take.
        assert "<strong>10 ms</strong>" in text
        assert "<strong>11 ms</strong>" in text

    def test_shows_what_waits_and_the_oldest(self, operator) -> None:
        subscription = make_subscription(name="Warehouse")
        oldest = make_delivery(subscription=subscription, created_at=timezone.now() - 3 * HOUR - MINUTE)
        make_delivery(subscription=subscription)
        make_delivery(state="delivered")
        text = page(operator, "dashboard/").replace("\xa0", " ")
        assert "Waiting: 2" in text
        assert "The oldest has waited for 3 h 1 min, for Warehouse:" in text
        assert f"/admin/orderhooks/delivery/{oldest.pk}/change/" in text

    def test_shows_which_endpoints_have_trouble(self, operator) -> None:
        make_subscription(name="Well")
        make_subscription(name="Off", state="disabled", last_failure="<script>gone</script>")
        text = page(operator, "dashboard/")
        assert "Off</a>" in text
        assert "&lt;script&gt;gone" in text
        assert "Well</a>" not in text

    def test_takes_the_same_queries_however_much_there_is(self, operator) -> None:
        def grow(count: int) -> int:
            for _ in range(count):
                subscription = make_delivery(subscription=make_subscription(state="paused")).subscription
                make_attempt_stats(subscription, outcome="5xx")
            page(operator, "dashboard/")
            with CaptureQueriesContext(connection) as captured:
                page(operator, "dashboard/")
            return len(captured)

        assert grow(1) == grow(12)

    def test_is_for_who_may_see_the_log(self) -> None:
        page(staff("view_delivery"), "dashboard/")
        assert "/admin/orderhooks/dashboard/" in page(staff("view_delivery"), "")
        for path in ("dashboard/", "dashboard/order/?number=1"):
            page(staff("view_order", "view_dashboard", "change_subscription"), path, status=403)

    def test_needs_no_script_and_no_style(self, operator) -> None:
        make_attempt_stats(make_subscription(), 3)
        text = page(operator, "dashboard/").split('id="content"')[1].split('id="footer"')[0]
        assert "<script" not in text
        assert "style=" not in text
        assert "onclick" not in text


class TestAnOrderByItsNumber:
    def test_of_any_model_is_shown_event_by_event(self, operator) -> None:
        event = make_event(order_number="A-7", source="shop", order_pk="x")
        make_delivery(event=event, state="failed", last_detail="The endpoint responded with 500.")
        text = page(operator, "dashboard/order/?number=A-7")
        assert "1 failed" in text
        assert "The endpoint responded with 500." in text

    def test_is_found_with_and_without_a_sign_before_it(self, operator) -> None:
        for number, typed in (("1003", "%231003"), ("#2004", "2004"), ("#2005", "%232005")):
            make_delivery(event=make_event(order_number=number), state="failed")
            assert "1 failed" in page(operator, f"dashboard/order/?number={typed}")
        make_order(number="3006")
        assert "Order #3006 was found." in page(operator, "dashboard/order/?number=%233006")

    def test_that_is_unknown(self, operator) -> None:
        make_event(order_number="A-7")
        assert "No order B-8 was found." in page(operator, "dashboard/order/?number=B-8")
        assert "is known" not in page(operator, "dashboard/order/")

    def test_is_shown_and_not_run(self, operator) -> None:
        text = page(operator, "dashboard/order/?number=<script>alert(1)</script>")
        assert "<script>alert(1)" not in text


def test_subscriptions_on_a_version_that_is_not_registered_are_reported() -> None:
    make_subscription(name="Left behind", api_version="2020-01-01")
    text = page(staff("view_subscription", "view_delivery"), "dashboard/")
    assert "Left behind can&#x27;t be sent to: the version 2020-01-01 of the body is not registered." in text
    assert "2020-01-01" in page(staff("view_subscription"), "subscription/")


def test_a_subscription_to_look_at_says_why_and_when_its_last_error_was() -> None:
    error = {"last_failure": "It responded with 503.", "last_failure_at": timezone.now() - 3 * HOUR}
    busy = make_subscription(name="Busy", **error)
    make_attempt_stats(busy, 9)
    make_attempt_stats(busy, 1, outcome="broken")
    text = page(staff("view_delivery", "view_subscription"), "dashboard/")
    assert "1 attempt failed in 24 hours" in text
    assert re.search(r"It responded with 503\. <br><span title=[^>]*>3.h 0.min ago<", text)


@pytest.mark.parametrize("permissions", [("view_delivery", "view_subscription"), ("view_delivery",)])
def test_more_subscriptions_to_look_at_than_are_listed_are_mentioned(permissions) -> None:
    reader = staff(*permissions)
    for number in range(WORST):
        make_subscription(name=f"shop {number}", state="disabled")
    assert "there are more" not in page(reader, "dashboard/")

    make_subscription(name="Warehouse", state="paused")
    text = page(reader, "dashboard/")

    assert "Warehouse" not in text
    assert f"These are the worst {WORST}; there are more." in text
    link = '<a href="/admin/orderhooks/subscription/">All subscriptions</a>'
    assert (link in text) == ("view_subscription" in permissions)
