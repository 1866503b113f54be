"""Alarms as a receiver gets them: verified, and with types, in each format that the kit reads."""

from datetime import UTC, datetime

import pytest

from orderhooks import operational
from orderhooks.receiver import AlarmedSubscription, ReceivedAlarm, UnknownAlarmShapeError, verify
from orderhooks.testing import signed_request

SECRET = "whsec_" + "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4"


def received(topic: str, format: str = "standard") -> ReceivedAlarm:
    request = signed_request(SECRET, topic, format=format)
    return verify(request.body, request.headers, SECRET).alarm


@pytest.mark.parametrize("format", ["standard", "cloudevents", "form"])
@pytest.mark.parametrize("topic", operational.TOPICS)
def test_an_alarm_has_its_types(topic: str, format: str) -> None:
    alarm = received(topic, format)
    shown = operational.example(topic)
    assert (alarm.message, alarm.count, alarm.source) == (shown["message"], shown["count"], shown["source"])
    assert alarm == received(topic)


def test_its_subscription_has_its_types() -> None:
    alarm = received("webhook.subscription.failing")
    assert alarm.subscription == AlarmedSubscription(
        id="sub_01KAR58K00W5QZ4N3XJ7T2M9CE",
        name="Warehouse",
        store="",
        state="active",
        failing_since=datetime(2026, 11, 23, 8, 55, tzinfo=UTC),
        disabled_at=datetime(2026, 11, 28, 8, 55, tzinfo=UTC),
        waiting=3,
        url="https://shop.example.com/admin/orderhooks/subscription/7/change/",
    )
    assert alarm.subscriptions == (alarm.subscription,)


def test_an_order_is_no_alarm() -> None:
    request = signed_request(SECRET)
    event = verify(request.body, request.headers, SECRET)
    with pytest.raises(UnknownAlarmShapeError, match="message is missing"):
        _alarm = event.alarm
