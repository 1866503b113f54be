"""The helpers for other projects' tests do what they say, with and without a project round them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import jsonschema
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import path
from standardwebhooks import Webhook, WebhookVerificationError

from orderhooks import catalogue, conf, receiver, signing, topics
from orderhooks.models import Event, Order, OrderLine, Subscription
from orderhooks.sources import BuiltInOrders, OrderSource
from orderhooks.testing import acapture, capture, deliver_now, signed_request
from tests import versioned
from tests.factories import make_order, make_subscription
from tests.publications import payload_of
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

    def test_they_are_what_the_catalogue_says_of_each_topic(self) -> None:
        for entry in catalogue.entries():
            jsonschema.validate(json.loads(signed_request(SECRET, entry.name).body), dict(entry.schema))

    def test_the_number_is_what_the_order_source_calls_the_order(self) -> None:
        class Reference(BuiltInOrders):
            def number(self, order: Any) -> str:
                return f"R-{order.reference}"

            def example(self) -> dict[str, Any]:
                return {"id": 1, "reference": 7}

        class NeedsMore(Reference):
            def number(self, order: Any) -> str:
                return str(order.customer.number)

        thin = signed_request(SECRET, source=Reference(), format="thin")
        assert json.loads(thin.body)["data"]["order"] == {"id": 1, "number": "R-7"}
        other = signed_request(SECRET, source=NeedsMore(), order={"number": "A-7"}, format="thin")
        assert json.loads(other.body)["data"]["order"]["number"] == "A-7"

    def test_a_request_may_be_in_an_older_version_of_the_body(self, settings: Any) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
        request = signed_request(SECRET, order={"customer_note": "soon"}, api_version=versioned.FIRST)
        content = json.loads(request.body)
        assert (content["api_version"], content["data"]["order"]["note"]) == (versioned.FIRST, "soon")
        assert content == request.event
        assert "sunset" in request.headers
        assert json.loads(signed_request(SECRET).body)["api_version"] == versioned.NESTED

    def test_another_secret_does_not_fit(self) -> None:
        request = signed_request(SECRET)
        with pytest.raises(WebhookVerificationError):
            Webhook(signing.generate_secret()).verify(request.body, dict(request.headers))

    def test_each_is_an_event_of_its_own_by_default(self) -> None:
        first, second = signed_request(SECRET), signed_request(SECRET)
        assert first.event["id"] != second.event["id"]
        again = signed_request(SECRET, event_id=first.event["id"], attempt=2)
        assert (again.headers["webhook-id"], again.headers["webhook-attempt"]) == (first.headers["webhook-id"], "2")

    def test_one_of_another_time_is_refused_as_stale(self) -> None:
        request = signed_request(SECRET, at=1_764_000_000)
        with pytest.raises(receiver.InvalidWebhookError, match="old"):
            receiver.verify(request.body, request.headers, SECRET)

    def test_a_topic_that_does_not_exist_is_refused(self, settings: Any) -> None:
        with pytest.raises(topics.UnknownTopicError, match=r"no topic 'order\.piad'\. Did you mean 'order\.paid'\?"):
            signed_request(SECRET, "order.piad")
        with pytest.raises(topics.UnknownTopicError, match="no topic 'gift'"):
            signed_request(SECRET, "gift")
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"gift": "It was wrapped."}}
        assert signed_request(SECRET, "gift").event["type"] == "gift"

    def test_a_project_that_only_receives_may_use_topics_of_its_store(self, settings: Any) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
        assert signed_request(SECRET, "gift").event["type"] == "gift"
        with pytest.raises(topics.UnknownTopicError, match="Did you mean"):
            signed_request(SECRET, "order.piad")

    @pytest.mark.urls("tests.test_testing")
    def test_djangos_client_takes_them(self) -> None:
        got.clear()
        request = signed_request(SECRET, changes={"note": ["", "soon"]})
        assert Client().post("/hooks/", **request.for_client()).status_code == 204
        [event] = got
        assert event.changes == {"note": receiver.Change("", "soon")}


@pytest.mark.django_db
class TestCaptureInsideATransaction:
    def test_it_shows_what_orders_would_have_sent(self) -> None:
        with capture() as told:
            order = make_order()
            assert told.topics == ["order.created"]
            order.payment_status = "paid"
            order.save()
            assert told.topics == ["order.created", "order.updated", "order.paid"]
        assert told.events[-1].changes == {"payment_status": ["pending", "paid"], "paid_at": [None, ANY]}
        assert payload_of(told.events[0])["order"]["lines"][0]["sku"] == "TEA-1"

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

    def test_a_subscription_of_the_same_time_gets_the_event(self) -> None:
        crm, _secret = Subscription.create_with_secret(name="CRM", url="https://crm.example.com/", topics=["*"])
        with capture() as told:
            make_order(payment_status="paid")
        assert [event.topic for event in told.sent_to(crm)] == ["order.created", "order.paid"]

    def test_the_events_can_be_looped_over(self) -> None:
        with capture() as events:
            make_order(payment_status="paid")
        assert [event.topic for event in events] == ["order.created", "order.paid"]

    def test_it_works_in_async_tests(self) -> None:
        subscription = make_subscription(topics=["order.paid"])

        async def test() -> None:
            async with acapture() as events:
                await sync_to_async(make_order)(payment_status="paid")
                assert await events.atopics() == ["order.created", "order.paid"]
                assert [event.topic async for event in events] == ["order.created", "order.paid"]
                assert [event.topic for event in await events.aevents()] == ["order.created", "order.paid"]
                assert [event.topic for event in await events.asent_to(subscription)] == ["order.paid"]

        async_to_sync(test)()
        assert list(Subscription.objects.all()) == [subscription]

    def test_a_payload_that_can_not_be_built_fails_the_test(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_source: Any, _order: Any) -> dict[str, Any]:
            raise ValueError("no price")

        with capture() as told:
            make_order(number="A-7")
            monkeypatch.setattr(BuiltInOrders, "payload", fail)
            with pytest.raises(AssertionError, match=r"order\.created A-7 would not be sent.*ValueError: no price"):
                _ = told.topics

    def test_an_error_in_the_test_is_not_hidden_by_its_end(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(), capture():
            make_order(number="A-7")
            transaction.set_rollback(True)
            raise IntegrityError("the test's own")
        assert not Subscription.objects.exists()

    def test_what_happened_before_the_capture_is_not_shown(self) -> None:
        make_subscription()
        make_order()
        with capture() as told:
            OrderLine.objects.create(order=Order.objects.get(), sku="B", name="B", unit_price="1")
            assert told.topics == ["order.updated"]


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_events_are_published_as_they_are_committed() -> None:
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


@pytest.mark.django_db
def test_receivers_where_the_settings_allow_them_get_theirs_too(receiver: RecordingReceiver, settings: Any) -> None:
    settings.ORDERHOOKS = {"ALLOWED_NETWORKS": ["10.0.0.0/8"]}
    allowed: list[tuple[str, ...]] = []

    def answer(_count: int) -> Answer:
        allowed.append(conf.current().allowed_networks)
        return Answer()

    receiver.answer = answer
    make_subscription(name="CRM", url=receiver.url, topics=["order.created"])
    make_order()
    assert [attempt.status_code for attempt in deliver_now()] == [200]
    assert allowed == [("10.0.0.0/8", "127.0.0.0/8", "::1/128")]


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


def test_a_project_without_orderhooks_among_its_apps_can_test_its_receiver(tmp_path: Path) -> None:
    code = (
        "import django\n"
        "from django.conf import settings\n"
        "settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['testserver'], DEFAULT_CHARSET='utf-8')\n"
        "django.setup()\n"
        "from django.test import Client\n"
        "from django.urls import path\n"
        "from orderhooks.receiver import CacheDeduplicator, CacheSequenceGuard, webhook\n"
        "from orderhooks.testing import signed_request\n"
        f"secret = {SECRET!r}\n"
        "@webhook(secret, deduplicate=CacheDeduplicator(), skip_stale=CacheSequenceGuard())\n"
        "def hooks(request, event):\n"
        "    print(event.topic, event.order.number)\n"
        "urlpatterns = [path('hooks/', hooks)]\n"
        "for sequence in (9, 7):\n"
        "    request = signed_request(secret, order={'number': 'A-7'}, sequence=sequence)\n"
        "    print(Client().post('/hooks/', **request.for_client()).status_code)\n"
    )
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("order.paid A-7\n204\n200\n", "")


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    code = "import sys, orderhooks.testing.plugin; print('django' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout == "False\n"


@pytest.mark.slow
def test_the_fixture_shows_a_store_the_events_of_its_orders(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(
        "from orderhooks.models import Order\n"
        "def test_a_paid_order_makes_an_event(orderhooks_events):\n"
        "    Order.objects.create(payment_status='paid')\n"
        "    assert orderhooks_events.topics == ['order.created', 'order.paid']\n"
    )
    plugins = ("-p", "pytest_django.plugin", "-p", "orderhooks.testing.plugin", "-p", "no:cacheprovider")
    done = python(
        *("-m", "pytest", "-q", *plugins, "--ds", "tests.settings"), cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_where_it_is_installed_a_project_without_django_settings_is_not_disturbed(tmp_path: Path) -> None:
    installed = tmp_path / "site" / "orderhooks_plugin-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: orderhooks-plugin\nVersion: 1\n")
    [entry_point] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"].items()
    (installed / "entry_points.txt").write_text("[pytest11]\n{} = {}\n".format(*entry_point))
    (tmp_path / "test_receiver.py").write_text(
        "import sys\n"
        "import flask\n"
        "from orderhooks.receiver import verify\n"
        "from orderhooks.testing import signed_request\n"
        "app = flask.Flask(__name__)\n"
        f"secret = {SECRET!r}\n"
        "@app.post('/hooks')\n"
        "def hooks():\n"
        "    event = verify(flask.request.get_data(), flask.request.headers, secret)\n"
        "    return {'total': str(event.order.total)}\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('orderhooks')\n"
        "    sent = signed_request(secret, order={'total': '9.50'})\n"
        "    answer = app.test_client().post('/hooks', data=sent.body, headers=dict(sent.headers))\n"
        "    assert answer.json == {'total': '9.50'}\n"
        "    assert 'orderhooks.models' not in sys.modules\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # otherwise that of a folder above, where the tests' own may be
    done = python(
        *("-m", "pytest", "-q", "-W", "error::pytest.PytestWarning", "-p", "no:cacheprovider"),
        cwd=tmp_path,
        PYTHONPATH=os.pathsep.join([str(installed.parent), str(ROOT)]),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_what_the_how_to_says_of_tests_is_true(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "how-to" / "test.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "test_readme.py").write_text(
        "import pytest\n"
        "from django.urls import path\n"
        "from orderhooks.models import Order\n"
        "from orderhooks.receiver import webhook\n"
        f"SECRET = {SECRET!r}\n"
        "shipped = []\n"
        "@webhook(SECRET)\n"
        "def ship(request, event):\n"
        "    shipped.append(event.order.number)\n"
        "urlpatterns = [path('webhooks/', ship)]\n"
        "pytestmark = pytest.mark.urls(__name__)\n"
        "@pytest.fixture\n"
        "def order(db):\n"
        "    return Order.objects.create()\n" + "\n".join(blocks) + "\n"
        "def test_last():\n"
        "    assert shipped == ['1042']\n"
    )
    plugins = ("-p", "pytest_django.plugin", "-p", "orderhooks.testing.plugin", "-p", "no:cacheprovider")
    done = python(
        *("-m", "pytest", "-q", *plugins, "--ds", "tests.settings"), cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


class ParcelOrders(OrderSource):
    name = "parcels"
    model = "orderhooks.Order"
    transitions = {"state": {"sent": "order.fulfilled"}}

    def example(self) -> dict[str, object]:
        return {"reference": "P-1", "state": "new"}


def test_a_signed_request_has_the_example_of_the_stores_own_source(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_testing.ParcelOrders"]}
    request = signed_request(signing.generate_secret(), "order.fulfilled", order={"reference": "P-2"})
    assert request.event["data"] == {
        "order": {"reference": "P-2", "state": "sent"},
        "changes": {"state": ["new", "sent"]},
    }


def test_a_signed_request_may_be_of_a_source_that_is_named() -> None:
    request = signed_request(signing.generate_secret(), "order.created", source=ParcelOrders())
    assert request.event["data"]["order"] == {"reference": "P-1", "state": "new"}
