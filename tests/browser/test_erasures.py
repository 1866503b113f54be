"""An erasure, by clicking: what would be erased, yes, and how far it has got."""

from playwright.sync_api import expect

from orderhooks.models import Order
from tests.browser.visiting import Visit
from tests.erasures import ADA, VALUES, ada_ordered, left_of
from tests.factories import make_subscription
from tests.receivers import RecordingReceiver


def test_a_customers_data_is_counted_and_erased(operator: Visit, worker: None, receiver: RecordingReceiver) -> None:
    make_subscription(name="CRM", url=receiver.url, topics=["order.redacted"])
    order = ada_ordered()
    operator.go("erasure/")
    operator.page.get_by_role("link", name="Add erasure").click()
    operator.press("Count what would be erased")
    operator.reads("Say whose data is to be erased")
    operator.page.get_by_label("Customer's e-mail address").fill(ADA)
    operator.press("Count what would be erased")
    operator.reads("The personal data of 1 order would be erased.")
    assert Order.objects.get().customer_email == ADA
    operator.press("Yes, erase it")
    # The page comes again by itself until the erasure has finished.
    operator.reads("1 of 1 orders erased")
    expect(operator.page.locator(".field-state_badge")).to_contain_text("finished")
    operator.reads(order.number)
    receiver.wait_for(1)
    assert receiver.received[0].topic == "order.redacted"
    assert left_of(VALUES) == []
