"""Tests of endpoints and previews: real requests, but nothing of them counts."""

import json
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from orderhooks import catalogue, operations, sending, tasks
from orderhooks.models import Attempt, Delivery, Event, Subscription
from orderhooks.previews import PreviewError, topics_to_preview
from orderhooks.receiver import verify
from orderhooks.signals import delivery_failed, delivery_succeeded
from orderhooks.topics import UnknownTopicError
from tests.factories import make_delivery, make_event, make_order, make_subscription, send_due
from tests.receivers import Answer

pytestmark = pytest.mark.django_db(transaction=True)


def make_endpoint(**fields) -> Subscription:
    """A subscription whose URL is well and is never called."""
    return make_subscription(**{"url": "http://127.0.0.1:8000/webhooks", **fields})


HEALTH = (
    "state",
    "state_reason",
    "failing_since",
    "consecutive_failures",
    "last_success_at",
    "circuit_open_until",
    "slow_start_limit",
)


def health(subscription: Subscription) -> list[object]:
    subscription.refresh_from_db()
    return [getattr(subscription, name) for name in HEALTH]


def test_a_test_sends_an_example_order_and_returns_the_response_at_once(receiver) -> None:
    receiver.answer = lambda _count: Answer(202, b"hello")
    subscription, secret = Subscription.create_with_secret(name="w", url=receiver.url, topics=["order.paid"], store="n")
    delivery = operations.send_test(subscription, by="alice")
    attempt = delivery.attempts.get()
    assert (delivery.state, delivery.trigger, delivery.attempts_made) == ("delivered", "test", 1)
    assert delivery.requested_by == attempt.requested_by == "alice"
    assert (attempt.trigger, attempt.status_code, attempt.response_body) == ("test", 202, "hello")
    [got] = receiver.received
    assert (got.topic, got.event["store"], got.event["data"]) == ("webhook.test", "n", catalogue.test_data())
    assert (got.headers["webhook-id"], got.headers["webhook-attempt"]) == (delivery.event.public_id, "1")
    assert verify(got.body, dict(got.headers), secret).topic == "webhook.test"


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
@pytest.mark.parametrize("status", [200, 410, 500, 503])
def test_a_test_is_sent_in_any_state_and_says_nothing_about_health(receiver, state: str, status: int) -> None:
    receiver.answer = lambda _count: Answer(status)
    subscription = make_subscription(
        url=receiver.url, state=state, consecutive_failures=2, failing_since=timezone.now()
    )
    before = health(subscription)
    delivery = operations.send_test(subscription)
    assert delivery.state == ("delivered" if status == 200 else "failed")
    assert delivery.last_status_code == status
    assert health(subscription) == before


def test_a_failed_test_is_never_tried_again(receiver) -> None:
    receiver.answer = lambda _count: Answer(500)
    subscription = make_subscription(url=receiver.url)
    delivery = operations.send_test(subscription)
    assert (delivery.next_attempt_at, delivery.lease_token) == (None, None)
    tasks.pump()
    send_due(now=timezone.now() + timedelta(days=2))
    assert operations.redeliver(Delivery.objects.all()) == 0
    tasks.pump()
    assert (len(receiver.received), Delivery.objects.get().state) == (1, "failed")


def test_no_pump_takes_a_test_that_is_under_way_or_routes_its_event(receiver) -> None:
    seen: list[object] = []
    everything = make_subscription(url="http://127.0.0.1:9/")
    real = sending.attempt

    def attempt_beside_a_pump(*arguments, **options):
        seen.append(list(Delivery.objects.values_list("state", "attempts_made")))
        tasks.pump()
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "attempt", attempt_beside_a_pump)
        operations.send_test(make_subscription(url=receiver.url))
    assert seen == [[("sending", 1)]]
    assert len(receiver.received) == 1
    assert not everything.deliveries.exists()


def test_a_test_whose_process_died_has_failed(receiver, monkeypatch) -> None:
    class Died(BaseException):
        pass

    def die(*_arguments, **_options):
        raise Died

    monkeypatch.setattr(sending, "attempt", die)
    with pytest.raises(Died):
        operations.send_test(make_subscription(url=receiver.url))
    sending.recover(now=timezone.now() + timedelta(minutes=5))
    assert Delivery.objects.get().state == "failed"
    assert Attempt.objects.get().error == "internal"


def test_a_test_takes_no_longer_than_its_subscription_allows(receiver, settings) -> None:
    def answer_late(_count: int) -> Answer:
        time.sleep(3)
        return Answer()

    receiver.answer = answer_late
    delivery = operations.send_test(make_subscription(url=receiver.url, timeout_seconds=1))
    assert (delivery.state, delivery.last_error) == ("failed", "timeout")
    assert 900 <= delivery.attempts.get().duration_ms < 2500


def test_no_transaction_may_be_open_round_a_test(receiver) -> None:
    subscription = make_subscription(url=receiver.url)
    with pytest.raises(RuntimeError), transaction.atomic():
        operations.send_test(subscription)
    assert receiver.received == []
    assert not Event.objects.exists()


def test_a_test_is_no_delivery_of_the_stores(receiver) -> None:
    def hear(sender, delivery, **_more):
        heard.append(delivery)

    heard: list[Delivery] = []
    delivery_failed.connect(hear)
    delivery_succeeded.connect(hear)
    try:
        receiver.answer = lambda count: Answer(200 if count == 1 else 500)
        subscription = make_subscription(url=receiver.url)
        operations.send_test(subscription)
        operations.send_test(subscription)
    finally:
        delivery_failed.disconnect(hear)
        delivery_succeeded.disconnect(hear)
    assert heard == []


def test_a_failed_test_holds_up_no_order_of_an_ordered_subscription(receiver) -> None:
    receiver.answer = lambda count: Answer(500 if count == 1 else 200)
    subscription = make_subscription(url=receiver.url, ordered=True)
    operations.send_test(subscription)
    make_delivery(subscription=subscription)
    tasks.pump()
    assert receiver.topics == ["webhook.test", "order.paid"]


def test_a_preview_is_the_request_that_would_arrive(receiver) -> None:
    subscription, secret = Subscription.create_with_secret(
        name="w", url=f"{receiver.url}?a=1", topics=["*"], headers={"X-Key": "tok_s3cr3t"}, signature="github"
    )
    order = make_order(number="1042", customer_name="Zoë ✓")
    Event.objects.all().delete()
    now = timezone.now()
    shown = operations.preview(subscription, "1042", topic="order.paid", now=now)
    assert not Delivery.objects.exists()
    assert not Event.objects.exists()
    assert receiver.received == []
    # The same event for real.
    body = json.loads(shown.body)
    event = make_event(
        public_id=body["id"], sequence=body["sequence"], payload=body["data"], occurred_at=now, order_pk=str(order.pk)
    )
    make_delivery(event=event, subscription=subscription)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending.pool, "prepare", lambda delivery, **_now: sending.prepare(delivery, now=now))
        send_due()
    [got] = receiver.received
    assert shown.body == got.body
    assert shown.target == "/webhooks?a=1"
    received = {name.lower(): value for name, value in got.headers.items()}
    assert {name.lower(): value for name, value in shown.headers.items()} == {**received, "x-key": "(hidden)"}
    assert verify(shown.body, shown.headers, secret).data["order"]["number"] == "1042"


def test_a_preview_says_whether_the_subscription_wants_it() -> None:
    make_order(number="1042", store="north")
    now = timezone.now()
    for fields, topic, wanted in (
        ({"topics": ["order.paid"]}, "order.paid", True),
        ({"topics": ["order.paid"]}, "order.closed", False),
        ({"topics": ["*"], "store": "north"}, "order.closed", True),
    ):
        shown = operations.preview(make_endpoint(**fields), "1042", topic=topic, now=now)
        assert (shown.wanted, json.loads(shown.body)["type"]) == (wanted, topic)


def test_a_preview_says_why_the_subscription_would_not_get_it() -> None:
    make_order(number="1042", store="north", customer_name="Zoë")
    north = "data.order.number == '1043'"
    for fields, reason, pieces in (
        ({"topics": ["order.paid"]}, "", []),
        ({"topics": ["order.closed"]}, "topic", ["topic not wanted"]),
        ({"filter": north}, "filtered", ["filtered out", north, "1042"]),
        ({"filter": "length(data.order.note) > `1`"}, "filtered", ["length"]),
    ):
        shown = operations.preview(make_endpoint(**fields), "1042", topic="order.paid", now=timezone.now())
        assert (shown.wanted, shown.reason) == (not reason, reason)
        assert [piece for piece in pieces if piece not in shown.text] == []
    endpoint = make_endpoint()
    endpoint.filter = "abs(data.order.number) > `1`"
    shown = operations.preview(endpoint, "1042", topic="order.paid", now=timezone.now())
    assert (shown.wanted, shown.reason) == (False, "filter")
    assert "The filter can't judge this event" in shown.text


def test_the_order_of_the_subscriptions_own_store_is_shown() -> None:
    make_order(number="1042", store="north", customer_name="Nora")
    make_order(number="1042", store="south", customer_name="Sam")
    for store, name in (("north", "Nora"), ("south", "Sam"), ("", "Sam")):
        shown = operations.preview(make_endpoint(store=store), "1042", topic="order.paid", now=timezone.now())
        assert json.loads(shown.body)["data"]["order"]["customer"]["name"] == name
    with pytest.raises(PreviewError, match="no order '1042' in the store 'west'"):
        operations.preview(make_endpoint(store="west"), "1042", topic="order.paid", now=timezone.now())


def test_the_order_of_another_store_is_unknown_whatever_its_payload_raises(monkeypatch) -> None:
    make_order(number="1042", store="south")
    monkeypatch.setattr("orderhooks.sources.BuiltInOrders.payload", lambda *_arguments: 1 / 0)

    def refused(number: str) -> str:
        with pytest.raises(PreviewError) as problem:
            operations.preview(make_endpoint(), number, topic="order.paid", now=timezone.now(), stores=["north"])
        return str(problem.value).replace(number, "N")

    assert refused("1042") == refused("9999")
    monkeypatch.setattr("orderhooks.sources.BuiltInOrders.store", lambda *_arguments: 1 / 0)
    assert refused("1042") == refused("9999")


def test_what_prevents_a_preview_is_reported(settings, monkeypatch) -> None:
    make_order(number="1042")
    now = timezone.now()

    def refused(subscription: Subscription, number: str = "1042", topic: str = "order.paid") -> str:
        with pytest.raises((PreviewError, UnknownTopicError)) as problem:
            operations.preview(subscription, number, topic=topic, now=now)
        return str(problem.value)

    assert "list of orders" in refused(make_endpoint(), "9999")
    assert "no topic" in refused(make_endpoint(), topic="order.payed")
    subscription = make_endpoint()
    subscription.secrets.all().delete()
    assert "no signing secret" in refused(subscription)
    monkeypatch.setattr("orderhooks.sources.BuiltInOrders.payload", lambda *_arguments: 1 / 0)
    assert "ZeroDivisionError" in refused(make_endpoint())
    monkeypatch.undo()
    subscription = make_endpoint()
    settings.ORDERHOOKS = {}
    assert 'ORDERHOOKS["REQUIRE_HTTPS"]' in refused(subscription)
    settings.SECRET_KEY = "another"
    assert "ENCRYPTION_KEYS" in refused(subscription)


def test_an_order_of_the_stores_own_is_found_by_its_key_or_by_its_events(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_sources.Users"]}
    user = User.objects.create(username="ada")
    subscription, now = make_endpoint(), timezone.now()
    shown = operations.preview(subscription, str(user.pk), topic="order.paid", now=now)
    assert json.loads(shown.body)["data"] == {"order": {"name": "ada"}, "changes": {}}
    make_event(source="users", order_pk=str(user.pk), order_number="A-7", store="")
    assert operations.preview(subscription, "A-7", topic="order.paid", now=now).body.count(b"ada") == 1
    user.delete()
    with pytest.raises(PreviewError, match="no order"):
        operations.preview(subscription, "A-7", topic="order.paid", now=now)


def test_what_a_subscription_wants_is_offered_first() -> None:
    offered = topics_to_preview(make_endpoint(topics=["order.paid", "order.closed"]))
    assert offered[:3] == ["order.closed", "order.paid", "order.created"]
    assert "webhook.test" not in offered


def test_what_is_held_is_counted_up_to_a_bound() -> None:
    subscription, other = make_endpoint(), make_endpoint()
    for _ in range(3):
        make_delivery(subscription=subscription)
    make_delivery(subscription=subscription, state="failed")
    make_delivery(subscription=other)
    moment = timezone.now()
    assert operations.held([subscription], most=10) == 3
    assert operations.held([subscription], most=2) == 2
    assert operations.held([subscription, other], most=10) == 4
    assert operations.held([subscription], since=moment - timedelta(minutes=1), most=10) == 3
    assert operations.held([subscription], since=moment + timedelta(minutes=1), most=10) == 0


def test_resuming_returns_how_many_were_skipped() -> None:
    subscription = make_endpoint(state="paused")
    make_delivery(subscription=subscription)
    resumed = operations.resume(Subscription.objects.all(), skip_before=timezone.now() + timedelta(seconds=1))
    assert (resumed.subscriptions, resumed.skipped) == (1, 1)
    assert operations.resume(Subscription.objects.all()).subscriptions == 0


def test_revealing_secrets_is_logged_without_them(caplog) -> None:
    subscription = make_endpoint()
    [secret] = subscription.reveal_secrets(by="alice\nforged", now=timezone.now())
    [entry] = [record for record in caplog.records if record.name == "orderhooks"]
    assert subscription.public_id in entry.getMessage()
    assert "alice" in entry.getMessage()
    assert "\n" not in entry.getMessage()
    assert secret not in entry.getMessage()
