"""A format is chosen, and its requests are read: previewed, refused by the endpoint, allowed."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit
from tests.factories import make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver


def test_a_format_is_chosen_and_its_request_is_shown(operator: Visit) -> None:
    make_order(number="1042")
    subscription = make_subscription(name="ERP", url="http://127.0.0.1:8443/hooks")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.page.get_by_label("Format:").select_option(label="Form: application/x-www-form-urlencoded")
    operator.press("Save and continue editing")
    expect(operator.page.get_by_label("Format:")).to_have_value("form")
    operator.follow("Preview an order's request")
    operator.page.get_by_label("Order number:").fill("1042")
    operator.press("Show the request")
    operator.reads("data[order][number] = 1042")
    operator.reads("content-type: application/x-www-form-urlencoded")


def test_an_endpoint_that_allows_nothing_is_named_with_the_remedy(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    allowed = Answer(200, headers=(("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "120")))
    receiver.permission = lambda count: Answer(405) if count == 1 else allowed
    subscription = make_subscription(name="Hub", url=receiver.url, format="cloudevents")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.reads("It is asked by OPTIONS before the next request.")
    operator.press("Send a test")
    operator.reads("respond to OPTIONS with WebHook-Allowed-Origin")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.press("Send a test")
    operator.heading("Test of Hub")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.reads("At most 120 requests a minute.")
    assert len(receiver.received) == 1
