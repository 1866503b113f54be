"""Pages to read: the dashboard, topics, code for receivers, a request before it is sent."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit
from tests.factories import make_delivery, make_event, make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver


def test_the_dashboard_leads_to_unhealthy_endpoints_and_to_what_waits(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    receiver.answer = lambda count: Answer(500, b"out of paper")
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    make_delivery(subscription=subscription, event=make_event(order_number="1042"))
    receiver.wait_for(1)
    unhealthy = operator.page.get_by_role("row", name="Warehouse")
    operator.go_until("dashboard/", unhealthy, "failing")
    # It may be tried again just then.
    operator.go_until("dashboard/", operator.page.get_by_role("main"), "Waiting: 1")
    operator.reads("A worker was seen")
    operator.page.get_by_text("The same as a table").click()
    expect(operator.page.get_by_role("columnheader", name="Hour")).to_be_visible()
    operator.page.get_by_label("Order number:").fill("1042")
    operator.press("Show its webhooks")
    expect(operator.page.get_by_role("row", name="Warehouse")).to_contain_text("500")
    operator.page.go_back()
    unhealthy.get_by_role("link", name="Warehouse").click()
    operator.reads("Failing since")


def test_the_catalogue_has_each_topic_with_schema_and_example(operator: Visit) -> None:
    subscription = make_subscription()
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Topics and what they bring")
    for name in ("order.paid", "webhook.test"):
        expect(operator.page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    example = operator.page.get_by_text("Example of order.paid")
    example.click()
    expect(operator.page.locator("details", has=example).locator("pre")).to_contain_text('"payment_status"')
    schema = operator.page.get_by_text("JSON Schema of order.paid")
    schema.click()
    expect(operator.page.locator("details", has=schema).locator("pre")).to_contain_text('"properties"')


def test_the_code_for_the_receiver_has_the_subscriptions_own_path(operator: Visit) -> None:
    subscription = make_subscription(url="http://127.0.0.1:8443/from/the/shop", headers={"x-key": "hush"})
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Code for the receiver")
    for language in ("Python, with Django", "Python, with Flask", "Node.js", "PHP"):
        operator.follow(language)
    # The PHP program is the file that its server is pointed at.
    expect(operator.page.locator("pre", has_text="from/the/shop")).to_have_count(3)
    operator.page.get_by_text("What each request carries").click()
    expect(operator.page.get_by_role("row", name="x-key")).to_contain_text("hidden")
    assert "hush" not in operator.page.content()


def test_the_request_of_an_order_is_shown_and_not_sent(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    make_order(lines=[], number="1042", customer_name="Aoi Tanaka")
    subscription = make_subscription(url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Preview an order's request")
    operator.page.get_by_label("Order number:").fill("1024")
    operator.press("Show the request")
    expect(operator.page.locator(".errornote")).to_contain_text("1024")
    operator.page.get_by_label("Order number:").fill("1042")
    operator.page.get_by_label("Topic:").select_option("order.paid")
    operator.press("Show the request")
    operator.reads("webhook-signature: v1,")
    operator.reads("Aoi Tanaka")
    assert receiver.received == []
