"""A backfill, by clicking: what would be sent, yes, how far it has got, and no more of it."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit
from tests.factories import make_order, make_subscription
from tests.receivers import RecordingReceiver


def test_existing_orders_are_counted_sent_and_seen_to_be_through(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    for number in ("1", "2", "3"):
        make_order(lines=[], number=number)
    subscription = make_subscription(name="CRM", url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Backfill: send existing orders…")
    expect(operator.page.get_by_label("Subscription")).to_have_value(str(subscription.pk))
    expect(operator.page.get_by_label("Topic")).to_have_value("order.updated")
    operator.press("Count what would be sent")
    operator.reads("3 orders would be sent.")
    operator.press("Change")
    operator.page.get_by_label("Orders a second").fill("500")
    operator.press("Count what would be sent")
    operator.reads("Orders a second, at most: 500")
    assert receiver.received == []
    operator.press("Yes, send them")
    # The page comes again by itself until the backfill is done.
    operator.reads("3 of 3 orders gone through. 3 deliveries made.")
    expect(operator.page.locator(".field-state_badge")).to_contain_text("done")
    expect(operator.button("Cancel this backfill")).to_have_count(0)
    receiver.wait_for(3)


def test_a_backfill_is_cancelled_before_it_is_through(operator: Visit, receiver: RecordingReceiver) -> None:
    make_order(lines=[])
    subscription = make_subscription(name="CRM", url=receiver.url)
    operator.go(f"backfill/add/?subscription={subscription.pk}")
    operator.press("Count what would be sent")
    operator.press("Yes, send them")
    operator.reads("0 of 1 orders gone through.")
    operator.press("Cancel this backfill")
    operator.reads("Cancelled. What it had made due already is sent.")
    operator.go(f"backfill/?subscription__id__exact={subscription.pk}")
    expect(operator.page.locator("#result_list tbody tr")).to_contain_text("cancelled")
