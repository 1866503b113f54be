"""The helpers for other projects' tests do what they say, with and without a project round them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import path
from standardwebhooks import Webhook, WebhookVerificationError

from orderhooks import receiver, signing
from orderhooks.models import Event, Order, OrderLine, Subscription
from orderhooks.testing import capture, deliver_now, signed_request
from tests.factories import make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver

SECRET = signing.generate_secret()
ROOT = Path(__file__).parent.parent
got: list[Any] = []


@receiver.webhook(SECRET)
def hooks(request: Any, event: Any) -> None:
    got.append(event)


urlpatterns = [path("hooks/", hooks)]


class TestSignedRequests:
    def test_the_standard_library_verifies_them(self) -> None:
        request = signed_request(SECRET, "order.cancelled", order={"number": "A-7"}, sequence=5, store="berlin")
        content = Webhook(SECRET).verify(request.body, dict(request.headers))
        assert content == request.event
        assert (content["type"], content["sequence"], content["store"]) == ("order.cancelled", 5, "berlin")
        assert content["data"]["order"]["number"] == "A-7"
        assert content["data"]["order"]["status"] == "cancelled"
        assert content["data"]["changes"] == {"status": ["open", "cancelled"]}
        assert request.headers["webhook-topic"] == "order.cancelled"

    def test_another_secret_does_not_fit(self) -> None:
        request = signed_request(SECRET)
        with pytest.raises(WebhookVerificationError):
            Webhook(signing.generate_secret()).verify(request.body, dict(request.headers))

    def test_each_is_an_event_of_its_own_unless_told_otherwise(self) -> None:
        first, second = signed_request(SECRET), signed_request(SECRET)
        assert first.event["id"] != second.event["id"]
        again = signed_request(SECRET, event_id=first.event["id"], attempt=2)
        assert (again.headers["webhook-id"], again.headers["webhook-attempt"]) == (first.headers["webhook-id"], "2")

    def test_one_of_another_time_is_refused_as_stale(self) -> None:
        request = signed_request(SECRET, at=1_764_000_000)
        with pytest.raises(receiver.InvalidWebhookError, match="old"):
            receiver.verify(request.body, request.headers, SECRET)

    @pytest.mark.urls("tests.test_testing")
    def test_djangos_client_takes_them(self) -> None:
        got.clear()
        request = signed_request(SECRET, changes={"note": ["", "soon"]})
        assert Client().post("/hooks/", **request.for_client()).status_code == 204
        [event] = got
        assert event.changes == {"note": receiver.Change("", "soon")}


@pytest.mark.django_db
class TestCaptureInsideATransaction:
    def test_it_tells_what_orders_would_have_sent(self) -> None:
        with capture() as told:
            order = make_order()
            assert told.topics == ["order.created"]
            order.payment_status = "paid"
            order.save()
            assert told.topics == ["order.created", "order.updated", "order.paid"]
        assert told.events[-1].changes == {"payment_status": ["pending", "paid"]}
        assert told.events[0].payload["order"]["lines"][0]["sku"] == "TEA-1"

    def test_what_is_not_looked_at_in_between_is_one_net_change(self) -> None:
        order = make_order()
        with capture() as told:
            for status in ("paid", "pending"):
                order.payment_status = status
                order.save()
        assert told.topics == []

    def test_it_leaves_no_subscription_behind(self) -> None:
        with capture():
            make_order()
        assert not Subscription.objects.exists()

    def test_each_subscription_gets_what_it_wants(self) -> None:
        crm = make_subscription(topics=["order.created"], store="berlin")
        with capture() as told:
            make_order(store="berlin")
            make_order(store="paris")
        assert told.topics == ["order.created", "order.created"]
        assert [event.store for event in told.sent_to(crm)] == ["berlin"]

    def test_what_was_before_is_not_told(self) -> None:
        make_subscription()
        make_order()
        with capture() as told:
            OrderLine.objects.create(order=Order.objects.get(), sku="B", name="B", unit_price="1")
            assert told.topics == ["order.updated"]


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_events_are_told_as_they_are_committed() -> None:
    with capture() as told:
        make_order(lines=[])
        assert Event.objects.count() == 1
        assert told.topics == ["order.created"]


@pytest.mark.django_db
def test_deliveries_are_sent_at_once_inside_a_tests_transaction(receiver: RecordingReceiver, settings: Any) -> None:
    settings.ORDERHOOKS = {}
    receiver.answer = lambda count: Answer(200 if count == 1 else 503)
    make_subscription(url=receiver.url, topics=["order.created", "order.paid"])
    make_order(lines=[], payment_status="paid")
    attempts = deliver_now()
    assert [attempt.status_code for attempt in attempts] == [200, 503]
    assert [attempt.delivery.state for attempt in attempts] == ["delivered", "pending"]
    assert receiver.topics == ["order.created", "order.paid"]
    assert deliver_now() == [], "the retry is not due yet"
    assert settings.ORDERHOOKS == {}


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another project's Python, which knows nothing of this one's settings."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_receiver_without_settings_can_sign_and_verify(tmp_path: Path) -> None:
    code = (
        "from orderhooks.testing import signed_request; from orderhooks.receiver import verify\n"
        f"secret = {SECRET!r}\n"
        "request = signed_request(secret, order={'total': '9.50'})\n"
        "print(verify(request.body, request.headers, secret).order.total * 2)\n"
    )
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("19.00\n", "")


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    code = "import sys, orderhooks.testing.plugin; print('django' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout == "False\n"


def test_the_fixture_tells_a_store_what_its_orders_say(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(
        "from orderhooks.models import Order\n"
        "def test_a_paid_order_is_told(orderhooks_events):\n"
        "    Order.objects.create(payment_status='paid')\n"
        "    assert orderhooks_events.topics == ['order.created', 'order.paid']\n"
    )
    plugins = ("-p", "pytest_django.plugin", "-p", "orderhooks.testing.plugin", "-p", "no:cacheprovider")
    done = python(
        *("-m", "pytest", "-q", *plugins, "--ds", "tests.settings"), cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
