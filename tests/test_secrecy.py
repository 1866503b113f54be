"""P10: after a flow no secret is anywhere except in the responses that showed it: tables, logs, pages, reports."""

import json
import logging
import re
import sys
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.core import serializers
from django.core.signals import got_request_exception
from django.db import DatabaseError, connection
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from django.views.debug import ExceptionReporter
from django_q.conf import Conf
from django_q.models import OrmQ

from orderhooks import payloads, sending, signing, tasks
from orderhooks.models import Attempt, Delivery, Order, Subscription, SubscriptionSecret
from orderhooks.signing import profiles
from orderhooks.transport import posting
from tests.api.calls import EVERYTHING, client_with, patch, post
from tests.factories import make_delivery, make_subscription, make_user
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "tok_s3cr3t_of_the_store"
ENDPOINT = {"name": "CRM", "topics": ["*"], "headers": {"Authorization": f"Bearer {TOKEN}"}}


class Shown(list[str]):
    """The secrets that were shown; each is looked for whole and without its prefix."""

    def assert_not_in(self, text: str, where: str) -> None:
        for secret in (*self, TOKEN):
            for part in (secret, re.sub("^(whsec|whsk)_", "", secret)):
                assert part not in text, f"a secret is in {where}"


def everything_stored() -> str:
    """Every row of every table, and for each the text that the database itself gives of its columns."""
    found = [
        serializers.serialize("json", model._base_manager.all()) for model in apps.get_models() if model._meta.managed
    ]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found.append(repr(cursor.fetchall()))
    return "\n".join(found)


@pytest.fixture
def logged() -> Any:
    """All that is logged, by any logger, down to DEBUG."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_whole_flow_leaves_no_secret_anywhere(receiver: RecordingReceiver, logged: StringIO) -> None:
    def echo(count: int) -> Answer:
        got = receiver.received[-1].headers
        return Answer(200 if count % 2 else 500, json.dumps(dict(got.items())).encode(), tuple(got.items())[:3])

    receiver.answer = echo
    api, browser = client_with(*EVERYTHING), Client()
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    shown = Shown()
    # Made in the API and in the admin, rotated in both, moved to another kind of key, sent to, read everywhere.
    made = post(api, "/subscriptions/", {**ENDPOINT, "url": receiver.url})
    path = f"/subscriptions/{made.data['public_id']}/"
    shown += [made.data["secret"], post(api, f"{path}rotate-secret/", {}).data["secret"]]
    patch(api, path, {"signature": "ed25519"})
    shown += Subscription.objects.get().live_secrets(now=timezone.now())[:1]
    form = {"name": "ERP", "url": receiver.url, "topics": "*", "signature": "stripe"}
    form |= {"format": "standard", "headers": f"X-Token: {TOKEN}"}
    page = browser.post("/admin/orderhooks/subscription/add/", form).content.decode()
    shown += re.findall("whsec_[A-Za-z0-9+/=]+", page)
    chosen = Subscription.objects.values_list("pk", flat=True)
    rotate = {"action": "rotate_secret", "_selected_action": chosen, "confirmed": "1", "hours": "24"}
    shown += re.findall(
        "whsec_[A-Za-z0-9+/=]+", browser.post("/admin/orderhooks/subscription/", rotate).content.decode()
    )
    assert len(shown) == 5
    Order.objects.create()
    tasks.pump()
    receiver.wait_for(2)
    sent = [value for one in receiver.received for name, value in one.headers.items() if "signature" in name.lower()]
    assert len(sent) == 3
    assert {one.status_code for one in Attempt.objects.all()} == {200, 500}

    stored = everything_stored()
    shown.assert_not_in(stored, "a table")
    assert not any(signature in stored for signature in sent), "a signature is in a table"
    shown.assert_not_in(logged.getvalue(), "the log")
    assert "delivery=dlv_" in logged.getvalue()
    shown.assert_not_in(repr(list(LogEntry.objects.values())), "the admin's history")
    assert OrmQ.objects.exists() or not Conf.ORM
    for queued in OrmQ.objects.all():
        shown.assert_not_in(repr(queued.task), "a queued task")
    for name in ("subscriptions", "deliveries", "events"):
        listed = api.get(f"/api/{name}/")
        shown.assert_not_in(listed.content.decode(), f"the API's {name}")
        for one in listed.json()["results"]:
            shown.assert_not_in(api.get(f"/api/{name}/{one['public_id']}/").content.decode(), f"the API's {name}")
    for delivery in Delivery.objects.all():
        address = f"/admin/orderhooks/delivery/{delivery.pk}/change/"
        shown.assert_not_in(browser.get(address).content.decode(), "a delivery's page")
    for subscription in Subscription.objects.all():
        for last in ("change", "history"):
            address = f"/admin/orderhooks/subscription/{subscription.pk}/{last}/"
            shown.assert_not_in(browser.get(address).content.decode(), "a subscription's page")


def report(error: BaseException | None, request: HttpRequest | None = None) -> str:
    """The error report that Django would mail to ADMINS."""
    assert error is not None
    reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


@pytest.fixture
def reports() -> Any:
    """Error reports of requests that failed."""
    found: list[str] = []

    def keep(sender: Any, request: HttpRequest, **_signal: Any) -> None:
        found.append(report(sys.exc_info()[1], request))

    got_request_exception.connect(keep)
    yield found
    got_request_exception.disconnect(keep)


def test_error_reports_of_the_api_hold_no_secret(reports: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    api = client_with(*EVERYTHING)
    api.raise_request_exception = False
    subscription = make_subscription(headers={"Authorization": TOKEN})
    shown = Shown(subscription.live_secrets(now=timezone.now()))
    made: list[str] = []
    generate = signing.generate_secret

    def generate_and_tell(profile: str) -> str:
        made.append(generate(profile))
        return made[-1]

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise DatabaseError("the database is gone")

    monkeypatch.setattr(signing, "generate_secret", generate_and_tell)
    monkeypatch.setattr(SubscriptionSecret, "save_base", fail)
    path = f"/subscriptions/{subscription.public_id}/"
    body = {**ENDPOINT, "url": "https://crm.example/"}
    for answer in (
        post(api, "/subscriptions/", body),
        post(api, f"{path}rotate-secret/", {}),
        patch(api, path, {"signature": "ed25519", "headers": body["headers"]}),
    ):
        assert answer.status_code == 500
    assert len(reports) == len(made) == 3
    for text in reports:
        assert "the database is gone" in text
        assert "add_secret" in text
        Shown([*shown, *made]).assert_not_in(text, "an error report of the API")


@pytest.mark.parametrize(
    ("owner", "name"), [(payloads, "encode"), (profiles, "signature_header"), (posting, "check_url")]
)
def test_error_reports_of_the_worker_hold_no_secret(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_delivery(subscription=make_subscription(headers={"Authorization": TOKEN}))
    shown = Shown(Subscription.objects.get().live_secrets(now=timezone.now()))
    monkeypatch.setattr(owner, name, lambda *_arguments, **_options: 1 / 0)
    with sending.Sender(threads=1) as sender:
        sender.claim(now=timezone.now())
    [error] = [record.exc_info[1] for record in caplog.records if record.exc_info]
    text = report(error)
    assert "ZeroDivisionError" in text
    assert "_attempt" in text
    shown.assert_not_in(text, f"an error report of {name}")


def test_a_request_that_is_printed_shows_no_secret() -> None:
    delivery = make_delivery(subscription=make_subscription(headers={"Authorization": TOKEN}))
    request = sending.prepare(delivery, now=timezone.now())
    shown = Shown(delivery.subscription.live_secrets(now=timezone.now()))
    shown.assert_not_in(repr(request), "the repr of a request")
    assert request.headers["webhook-signature"] not in repr(request)
