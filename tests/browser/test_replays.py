"""A replay, by clicking: what would be sent, yes, how far it has got, and no more of it."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit
from tests.factories import make_delivery, make_event, make_subscription
from tests.receivers import RecordingReceiver


def test_what_failed_is_counted_sent_again_and_seen_to_be_through(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    for state in ("failed", "failed", "failed", "delivered"):
        make_delivery(subscription=subscription, state=state)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Replay: send events again…")
    expect(operator.page.get_by_label("Subscription")).to_have_value(str(subscription.pk))
    operator.page.get_by_label("only what failed").check()
    operator.press("Count what would be sent")
    operator.reads("3 deliveries would be sent.")
    operator.press("Change")
    operator.page.get_by_label("everything").check()
    operator.press("Count what would be sent")
    operator.reads("4 deliveries would be sent.")
    assert receiver.received == []
    operator.press("Yes, send them")
    # The page comes again by itself until the replay is done.
    operator.reads("4 deliveries made due, of 4 expected.")
    expect(operator.page.get_by_role("img", name="100 % of the time gone through")).to_be_visible()
    expect(operator.page.locator(".field-state_badge")).to_contain_text("done")
    expect(operator.button("Cancel this replay")).to_have_count(0)
    receiver.wait_for(4)


def test_a_replay_is_cancelled_before_it_is_through(operator: Visit, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    make_event()
    operator.go(f"replay/add/?subscription={subscription.pk}")
    operator.page.get_by_label("only what was never sent").check()
    operator.page.get_by_label("order.paid", exact=True).check()
    operator.press("Count what would be sent")
    operator.reads("1 delivery would be sent.")
    operator.press("Yes, send them")
    operator.reads("0 deliveries made due, of 1 expected.")
    operator.press("Cancel this replay")
    operator.reads("Cancelled. What it had made due already is sent.")
    expect(operator.page.locator(".field-state_badge")).to_contain_text("cancelled")
    operator.go(f"replay/?subscription__id__exact={subscription.pk}")
    expect(operator.page.locator("#result_list tbody tr")).to_contain_text("cancelled")
