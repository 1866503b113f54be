"""The delivery log, by clicking: filter, open, read the summary, redeliver one or many, take it along as CSV."""

import csv
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.utils import timezone
from playwright.sync_api import expect

from orderhooks.models import Delivery
from tests.browser.visiting import Visit
from tests.factories import make_attempt, make_delivery, make_event, make_subscription, make_user
from tests.receivers import Answer, RecordingReceiver


def test_a_delivery_is_found_by_filters_shows_its_summary_and_is_sent_again(
    operator: Visit, worker: None, receiver: RecordingReceiver, settings
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": []}
    receiver.answer = lambda count: Answer(503, b"out of paper") if count == 1 else Answer(200, b"printed")
    warehouse = make_subscription(name="Warehouse", url=receiver.url)
    make_delivery(subscription=warehouse, event=make_event(order_number="1042", topic="order.paid"))
    make_delivery(event=make_event(order_number="1041"), state="delivered")
    receiver.wait_for(1)
    rows = operator.page.locator("#result_list tbody tr")
    operator.go_until("delivery/", operator.page.get_by_role("main"), "failed (1)")
    expect(rows).to_have_count(2)
    operator.follow("failed (1)")
    operator.follow("5xx (1)")
    operator.follow("Warehouse (1)")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("responded with 503")
    rows.get_by_role("link", name="failed").click()

    expect(operator.page.locator(".orderhooks-summary")).to_contain_text("responded with 503")
    expect(operator.page.locator(".orderhooks-attempt")).to_contain_text("out of paper")
    operator.page.get_by_text("A script that sends it once more").click()
    expect(operator.page.get_by_label("Script")).to_have_value(re.compile("curl"))
    operator.press("Redeliver now")
    operator.reads("1 delivery is sent again.")
    receiver.wait_for(2)
    delivery = Delivery.objects.get(subscription=warehouse)
    page = f"delivery/{delivery.pk}/change/"
    operator.go_until(page, operator.page.locator(".orderhooks-summary"), "delivered")
    expect(operator.page.locator(".orderhooks-attempt")).to_have_count(2)
    expect(operator.page.locator(".orderhooks-attempt").first).to_contain_text("printed")
    expect(operator.page.locator(".orderhooks-attempt").first).to_contain_text(operator.user.get_username())
    operator.follow("History")
    operator.reads("Redelivered.")


def test_many_are_counted_and_sent_again_once_confirmed(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    warehouse = make_subscription(name="Warehouse", url=receiver.url)
    paused = make_subscription(name="Bookkeeping", state="paused")
    for subscription in (warehouse, warehouse, paused):
        make_delivery(subscription=subscription, state="failed")
    make_delivery(subscription=warehouse, state="delivered")
    operator.go("delivery/")
    operator.run_action("Redeliver selected")
    operator.reads("Of 4 deliveries, 4 are sent again now")
    operator.reads("1 has arrived before")
    operator.reads("1 is held until its subscription")
    expect(operator.page.get_by_role("row", name="Warehouse")).to_contain_text("3")
    operator.follow("No, take me back")
    assert receiver.received == []
    operator.run_action("Redeliver selected")
    operator.press("Redeliver")
    operator.reads("3 deliveries are sent again.")
    operator.reads("1 delivery is held until its subscription is active")
    receiver.wait_for(3)


def test_a_search_finds_by_order_number_and_by_whole_id(operator: Visit) -> None:
    make_delivery(event=make_event(order_number="1041"))
    delivery = make_delivery(event=make_event(order_number="1042"))
    rows = operator.page.locator("#result_list tbody tr")
    for term in ("1042", delivery.public_id, delivery.event.public_id):
        operator.go("delivery/")
        operator.search(term)
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("1042")


def test_what_the_filters_leave_is_taken_along_as_csv(operator: Visit, tmp_path: Path) -> None:
    make_delivery(event=make_event(order_number='=HYPERLINK("http://evil.example")'), state="failed")
    make_delivery(state="delivered")
    operator.go("delivery/?state__exact=failed")
    with operator.page.expect_download() as download:
        operator.run_action("Export as CSV (none selected: all found)", rows=0)
    download.value.save_as(tmp_path / "deliveries.csv")
    with (tmp_path / "deliveries.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["failed"]
    assert rows[0]["order_number"].startswith("'=HYPERLINK")


def test_the_log_since_a_time(operator: Visit) -> None:
    make_delivery(event=make_event(order_number="1042"))
    operator.go("delivery/")
    tomorrow = timezone.now() + timedelta(days=1)
    operator.page.get_by_label("Since").fill(tomorrow.strftime("%Y-%m-%dT%H:%M"))
    operator.page.get_by_label("Since").press("Enter")
    operator.reads("0 deliveries")
    operator.page.get_by_label("Since").fill((tomorrow - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M"))
    operator.page.get_by_label("Since").press("Enter")
    operator.reads("1 delivery")


def test_who_may_only_read_the_log_is_offered_nothing_else(visit: Callable[..., Visit]) -> None:
    delivery = make_delivery(event=make_event(order_number="1042"), state="failed")
    make_attempt(delivery, status_code=500, error="status", response_body="out of paper")
    reader = visit(make_user("view_delivery", is_staff=True))
    reader.page.get_by_role("link", name="Deliveries", exact=True).first.click()
    actions = reader.page.get_by_label("Action:").locator("option")
    # What stands for none differs between the versions of Django.
    expect(actions).to_have_text([re.compile(".+"), "Export as CSV (none selected: all found)"])
    reader.page.locator("#result_list").get_by_role("link", name="failed").click()
    expect(reader.page.locator(".orderhooks-summary")).to_contain_text("failed")
    _nothing_to_press(reader)
    assert "out of paper" not in reader.page.content()
    reader.go("dashboard/order/?number=1042")
    expect(reader.page.locator(".orderhooks-webhooks")).to_contain_text("failed")
    expect(reader.page.locator("main form[method=post]")).to_have_count(0)
    assert reader.page.request.get("/admin/orderhooks/subscription/").status == 403
    assert reader.page.request.get("/admin/orderhooks/event/").status == 403
    assert reader.page.request.get("/admin/orderhooks/replay/").status == 403
    assert reader.page.request.get("/admin/orderhooks/replay/add/").status == 403


def _nothing_to_press(visit: Visit) -> None:
    expect(visit.page.get_by_role("main")).to_be_visible()
    expect(visit.page.locator("main button.orderhooks-button, main .submit-row input, main .addlink")).to_have_count(0)
