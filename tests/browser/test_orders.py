"""Did order 1042 reach the warehouse, why not, and make it so: in three clicks, from the log-in on."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit
from tests.factories import make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver


def test_an_order_is_found_and_shows_what_became_of_its_webhooks(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    make_subscription(name="Warehouse", url=receiver.url)
    make_subscription(name="Bookkeeping", url=receiver.url, topics=["order.refunded"])
    make_order(number="1041", lines=[])
    make_order(lines=[], number="1042", customer_name="Aoi Tanaka")
    receiver.wait_for(2)

    operator.page.get_by_role("link", name="Orders", exact=True).first.click()
    operator.search("1042")
    expect(operator.page.locator("#result_list tbody tr")).to_have_count(1)
    operator.follow("1042")

    row = operator.page.locator(".orderhooks-webhooks tr", has_text="Warehouse")
    expect(row).to_contain_text("delivered")
    operator.page.get_by_text("1 subscription did not get it: why").click()
    expect(operator.page.locator("li", has_text="Bookkeeping")).to_be_visible()


def test_what_failed_of_an_order_is_sent_again_from_its_page(
    operator: Visit, worker: None, receiver: RecordingReceiver, settings
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": []}
    receiver.answer = lambda count: Answer(500, b"out of paper") if count == 1 else Answer()
    make_subscription(name="Warehouse", url=receiver.url)
    order = make_order(lines=[], number="1042")
    receiver.wait_for(1)

    row = operator.page.locator(".orderhooks-webhooks tr", has_text="Warehouse")
    operator.go_until(f"order/{order.pk}/change/", row, "failed")
    operator.press("Redeliver what failed")
    operator.reads("1 delivery is sent again.")
    receiver.wait_for(2)
    operator.go_until(f"order/{order.pk}/change/", row, "delivered")
