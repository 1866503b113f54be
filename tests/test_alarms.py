"""Alarms as operational events: who gets them, once each, in one decision with the e-mail."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from jsonschema import Draft202012Validator

from orderhooks import conf, notifications, operational, routing, topics
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.stores import events_of, feed_of
from tests.factories import make_delivery, make_event, make_subscription, make_user, send_due
from tests.mail import no_mail_server
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def admins(settings: Any) -> None:
    settings.ADMINS = [("Ops", "ops@example.com")]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": "https://shop.example.com"}


def failing(**fields: Any) -> Subscription:
    return make_subscription(
        **{"name": "Warehouse", "failing_since": NOW - 2 * HOUR, "consecutive_failures": 3, **fields}
    )


def make_operational(**fields: Any) -> Subscription:
    return make_subscription(**{"name": "On call", "operational": True, **fields})


def alarms() -> list[Any]:
    return list(Event.objects.filter(topic__in=[*operational.TOPICS]).order_by("sequence"))


def alarmed_topics() -> list[str]:
    return [event.topic for event in alarms()]


def notified(at: Any = NOW) -> list[str]:
    """The topics of the operational events that a turn at that time makes."""
    before = len(alarms())
    notifications.send_due(now=at)
    return alarmed_topics()[before:]


def test_an_alarm_arrives_signed_at_operational_subscriptions_alone() -> None:
    with RecordingReceiver() as receiver, RecordingReceiver() as others:
        make_operational(url=receiver.url)
        make_subscription(url=others.url)
        subscription = failing(url=others.url)
        make_delivery(
            subscription=subscription, next_attempt_at=NOW + HOUR, last_detail="<script>", last_error="status"
        )
        notifications.send_due(now=NOW)
        routing.route(now=timezone.now())
        send_due()
        assert others.received == []
        [request] = receiver.received
    assert request.headers["webhook-signature"].startswith("v1,")
    body = json.loads(request.body)
    assert (body["type"], body["source"], body["store"]) == ("webhook.subscription.failing", "", "")
    data = body["data"]
    assert data["subscription"]["id"] == subscription.public_id
    assert data["subscription"]["url"] == (
        f"https://shop.example.com/admin/orderhooks/subscription/{subscription.pk}/change/"
    )
    assert data["message"].startswith("Webhooks to “Warehouse” are failing. Every attempt has failed since ")
    assert "Deliveries that wait: 1" in data["message"]
    assert data["subscriptions"] == [data["subscription"]]
    assert (data["count"], data["waiting"]) == (1, 1)
    assert "<script>" not in request.body.decode(), "what an endpoint responds is not passed on"
    Draft202012Validator(operational.DATA).validate(data)


def test_each_state_has_its_event_once_and_in_its_turn() -> None:
    make_operational()
    subscription = failing()
    now, seen = NOW, []
    disabled: dict[str, Any] = {"state": "disabled", "state_reason": "Every attempt has failed for 5 days."}
    well: dict[str, Any] = {"state": "active", "failing_since": None, "last_success_at": NOW}
    for after, change in ((HOUR, {}), (4 * DAY, {}), (DAY, disabled), (HOUR, well)):
        now += after
        Subscription.objects.filter(pk=subscription.pk).update(**change)
        for _ in range(3):
            seen += notified(now)
            now += notifications.PAUSE
    kinds = ["failing", "disabling_soon", "disabled", "recovered"]
    assert seen == [f"webhook.subscription.{kind}" for kind in kinds]
    assert len(mail.outbox) == 4
    assert "will be stopped soon" in mail.outbox[1].subject
    warning = alarms()[1]
    at = NOW - 2 * HOUR + timedelta(days=5)
    assert warning.payload["subscription"]["disabled_at"] == f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
    for event in alarms():
        Draft202012Validator(operational.DATA).validate(event.payload)


@pytest.mark.parametrize(("days", "before"), [(5, DAY), (10, 2 * DAY), (2, DAY), (1, DAY / 2), (0.5, DAY / 4)])
def test_the_warning_comes_a_fifth_before_the_end_and_a_day_where_there_is_one(
    settings: Any, days: float, before: timedelta
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "DISABLE_AFTER_DAYS": days}
    assert conf.current().disable_after_days == days
    assert notifications.warning_before() == before


def test_an_alarm_about_an_operational_subscription_goes_to_the_others() -> None:
    first = make_operational(failing_since=NOW - 2 * HOUR, consecutive_failures=9)
    second = make_operational()
    assert notified() == ["webhook.subscription.failing"]
    routing.route(now=timezone.now())
    assert [one.subscription for one in Delivery.objects.all()] == [second]
    [event] = alarms()
    assert event in Event.objects.all().wanted_by(second)
    assert event not in Event.objects.all().wanted_by(first), "neither does a replay"
    assert len(mail.outbox) == 1


def test_two_that_fail_each_other_make_one_alarm_each() -> None:
    make_operational(failing_since=NOW - 2 * HOUR)
    make_operational(failing_since=NOW - 2 * HOUR)
    for turn in range(5):
        notifications.send_due(now=NOW + turn * notifications.PAUSE)
        routing.route(now=timezone.now())
    assert len(alarms()) == 2
    assert Delivery.objects.count() == 2


def test_without_an_operational_subscription_no_event_is_kept_and_none_comes_later() -> None:
    failing()
    assert notified() == []
    make_operational()
    assert notified(NOW + HOUR) == []


def test_a_crash_after_the_update_loses_no_event_and_sends_no_mail_twice(monkeypatch: Any) -> None:
    make_operational()
    failing()

    def crash(*_arguments: object, **_options: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(notifications.endpoints, "_mail", crash)
        notifications.send_due(now=NOW)
    assert alarmed_topics() == ["webhook.subscription.failing"]
    assert notified(NOW + HOUR) == []
    assert mail.outbox == []


def test_a_crash_before_the_event_is_written_leaves_the_alarm_due(monkeypatch: Any) -> None:
    make_operational()
    failing()

    def crash(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(notifications.events, "publish", crash)
        notifications.send_due(now=NOW)
    assert notified() == ["webhook.subscription.failing"]
    assert len(mail.outbox) == 1


def test_a_mail_that_is_sent_again_makes_no_second_event() -> None:
    make_operational()
    failing()
    with no_mail_server():
        assert notified() == ["webhook.subscription.failing"]
    assert notified(NOW + HOUR) == []
    assert len(mail.outbox) == 1


def test_many_at_once_are_one_event_and_one_mail() -> None:
    make_operational()
    made = [failing(name=f"Endpoint {number}", contact_email=f"c{number}@example.com") for number in range(25)]
    make_operational(failing_since=NOW - 2 * HOUR)
    assert notifications.send_due(now=NOW) == 26
    digest, apart = sorted(alarms(), key=lambda event: -event.payload["count"])
    assert (digest.payload["count"], digest.payload["subscription"]) == (25, None)
    assert [one["id"] for one in digest.payload["subscriptions"]] == [one.public_id for one in made[:20]]
    assert apart.payload["count"] == 1
    to_admins = [message for message in mail.outbox if message.to == ["ops@example.com"]]
    assert [message.subject.split("] ")[-1] for message in to_admins] == [
        "Webhooks to 25 endpoints are failing",
        "Webhooks to “On call” are failing",
    ]
    assert "“Endpoint 19” and 5 more" in to_admins[0].body
    to_contacts = {message.to[0] for message in mail.outbox} - {"ops@example.com"}
    assert len(to_contacts) == 25
    Draft202012Validator(operational.DATA).validate(digest.payload)
    assert notified(NOW + HOUR) == []


def test_a_few_at_once_are_alarms_of_their_own() -> None:
    make_operational()
    for _ in range(notifications.DIGEST_ABOVE):
        failing()
    assert len(notified()) == notifications.DIGEST_ABOVE


def test_a_resumed_endpoint_without_a_success_since_is_no_recovery() -> None:
    make_operational()
    subscription = make_subscription(
        last_success_at=NOW - 9 * DAY, last_failure_at=NOW - DAY, last_notified_state="disabled", state="active"
    )
    Subscription.objects.filter(pk=subscription.pk).update(last_alarmed_state="disabled")
    assert notified() == []


# Isolation


def test_an_order_never_goes_to_an_operational_subscription_nor_an_alarm_to_another() -> None:
    ours, others = make_operational(topics=["*"]), make_subscription(topics=["*", "webhook.*"], store="Köln")
    for topic in ("order.paid", *operational.TOPICS):
        is_alarm = topic in operational.TOPICS
        make_event(
            topic=topic, routed_at=None, source="" if is_alarm else "orderhooks", store="Köln" if not is_alarm else ""
        )
        assert ours.takes(topic) == is_alarm
        assert others.takes(topic) != is_alarm
    routing.route(now=timezone.now())
    assert Delivery.objects.filter(subscription=ours).count() == len(operational.TOPICS)
    assert [one.event.topic for one in Delivery.objects.filter(subscription=others)] == ["order.paid"]


def test_an_operational_event_is_in_no_feed_and_not_seen_by_users_of_a_store(settings: Any) -> None:
    ours = make_operational()
    failing()
    notifications.send_due(now=NOW)
    [event] = alarms()
    user = make_user("view_event")
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.test_alarms.all_stores"}
    assert event not in events_of(user)
    assert event not in feed_of(user, ours)
    manager = make_user("view_event", "manage_all_subscriptions")
    assert event in events_of(manager)
    assert event not in feed_of(manager, None)
    assert event in feed_of(manager, ours)


def all_stores(_user: object) -> list[str]:
    return [""]


# What is valid


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"topics": ["order.paid"]}, "topics"),
        ({"topics": ["*", "order.*"]}, "topics"),
        ({"store": "Köln"}, "store"),
        ({"filter": "type == 'x'"}, "filter"),
        ({"changed_fields": ["status"]}, "changed_fields"),
        ({"update_interval_seconds": 60}, "update_interval_seconds"),
        ({"operational": False, "topics": ["worker.missing"]}, "topics"),
        ({"operational": False, "topics": ["source.*"]}, "topics"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], wrong: str) -> None:
    values = {"name": "X", "url": "https://crm.example.com/", "operational": True, "topics": ["*"], **fields}
    with pytest.raises(ValidationError) as error:
        Subscription.create_with_secret(**values)
    assert list(error.value.message_dict) == [wrong]


@pytest.mark.parametrize("patterns", [["*"], ["webhook.*"], ["webhook.subscription.*", "worker.missing"]])
def test_patterns_over_operational_topics_are_valid(patterns: list[str]) -> None:
    values: dict[str, Any] = {"name": "X", "url": "https://crm.example.com/", "operational": True, "topics": patterns}
    subscription, _secret = Subscription.create_with_secret(**values)
    subscription.operational = False
    with pytest.raises(ValidationError, match="Add another subscription"):
        subscription.save()


def test_the_database_refuses_an_operational_subscription_of_a_store() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(pk=make_operational().pk).update(store="Köln")


def test_operational_topics_are_made_by_nobody_else(settings: Any) -> None:
    with pytest.raises(topics.UnknownTopicError, match="by hand"):
        topics.require_publishable("worker.missing")
    assert "operational" in topics.fault_of({"worker.missing": "Mine."})
