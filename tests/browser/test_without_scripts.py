"""With JavaScript off, what an operator needs at night works all the same."""

from collections.abc import Callable

import pytest

from orderhooks.models import Delivery
from tests.browser.visiting import Visit
from tests.factories import make_delivery, make_subscription
from tests.receivers import RecordingReceiver


@pytest.fixture
def operator(visit: Callable[..., Visit]) -> Visit:
    return visit(java_script_enabled=False)


def test_deliveries_are_sent_again(operator: Visit, worker: None, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=receiver.url)
    first, _second = (make_delivery(subscription=subscription, state="failed") for _ in range(2))
    operator.go(f"delivery/{first.pk}/change/")
    operator.press("Redeliver now")
    operator.reads("1 delivery is sent again.")
    receiver.wait_for(1)
    operator.go_until("delivery/", operator.page.locator("#result_list"), "delivered")
    operator.run_action("Redeliver selected")
    operator.press("Redeliver")
    operator.reads("2 deliveries are sent again.")
    receiver.wait_for(3)


def test_a_test_is_sent_and_gets_a_response(operator: Visit, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.press("Send a test")
    operator.reads("It arrived.")
    operator.press("Send another test")
    operator.reads("It arrived.")
    receiver.wait_for(2)


def test_a_subscription_is_resumed(operator: Visit, worker: None, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=receiver.url, state="paused")
    make_delivery(subscription=subscription)
    operator.go("subscription/")
    operator.run_action("Resume the selected subscriptions…")
    operator.reads("Deliveries held: 1.")
    operator.press("Resume")
    operator.reads("1 subscription is active again.")
    receiver.wait_for(1)


def test_events_are_replayed(operator: Visit, worker: None, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=receiver.url)
    make_delivery(subscription=subscription, state="failed")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.follow("Replay: send events again…")
    operator.press("Count what would be sent")
    operator.reads("1 delivery would be sent.")
    operator.press("Yes, send them")
    # By the header that has the browser come again.
    operator.reads("1 delivery made due, of 1 expected.")
    receiver.wait_for(1)
    assert Delivery.objects.get().requested_by.startswith("replay")
