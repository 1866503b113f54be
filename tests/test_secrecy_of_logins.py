"""P10 for logins: no password, client secret, token or private key is in a table, a log, a page or an error report."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from orderhooks import sending, tasks
from orderhooks.encryption import UndecryptableError
from orderhooks.models import AccessToken, Attempt, Delivery, Order, Subscription
from orderhooks.sending import pool
from orderhooks.transport import posting, tokens
from tests.api.calls import EVERYTHING, client_with, patch, post
from tests.certificates import client_pem
from tests.factories import make_delivery, make_subscription, make_user
from tests.receivers import Answer, RecordingReceiver
from tests.test_secrecy import Shown, everything_stored, logged, report, reports

__all__ = ["logged", "reports"]
pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD, SECRET, TOKEN = "pa55word of the store", "s3cr3t of the client", "t0ken-of-the-authorization-server"


@pytest.fixture
def server() -> Any:
    """An authorization server that grants one token."""
    with RecordingReceiver() as running:
        granted = json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}).encode()
        running.answer = lambda count: Answer(200, granted)
        yield running


def oauth2(server: RecordingReceiver) -> dict[str, str]:
    return {"type": "oauth2", "token_url": server.url, "client_id": "shop", "client_secret": SECRET}


def test_a_whole_flow_leaves_no_secret_of_a_login_anywhere(receiver, server, logged: StringIO) -> None:
    def echo(count: int) -> Answer:
        got = receiver.received[-1].headers
        return Answer(200 if count % 2 else 500, json.dumps(dict(got.items())).encode(), tuple(got.items())[:5])

    receiver.answer = echo
    api, browser = client_with(*EVERYTHING), Client()
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    chain, key = client_pem()
    body = {"name": "CRM", "topics": ["*"], "url": receiver.url, "authentication": oauth2(server)}
    made = post(api, "/subscriptions/", body)
    form = {"name": "ERP", "url": receiver.url, "topics": "*", "signature": "standard", "authentication": "basic"}
    form |= {"format": "standard", "basic_username": "shop", "basic_password": PASSWORD}
    browser.post("/admin/orderhooks/subscription/add/", form)
    basic = {"type": "basic", "username": "shop", "password": PASSWORD}
    certificate = {"certificate": chain, "private_key": key}
    locked = post(api, "/subscriptions/", {**body, "url": "https://crm.example/", "client_certificate": certificate})
    patch(api, f"/subscriptions/{locked.data['public_id']}/", {"authentication": basic})
    Order.objects.create()
    tasks.pump()
    receiver.wait_for(2)
    sent = {one.headers["authorization"] for one in receiver.received}
    assert sent == {f"Bearer {TOKEN}", "Basic c2hvcDpwYTU1d29yZCBvZiB0aGUgc3RvcmU="}
    assert "(redacted)" in Attempt.objects.filter(status_code=200).get().response_body

    body_of_key = "".join(key.splitlines()[1:-1])
    shown = Shown([PASSWORD, SECRET, TOKEN, body_of_key, *key.splitlines()[1:-1], *sent])
    shown.assert_not_in(everything_stored(), "a table")
    shown.assert_not_in(logged.getvalue(), "the log")
    shown.assert_not_in(repr(list(LogEntry.objects.values())), "the admin's history")
    shown.assert_not_in(json.dumps([made.data, locked.data], default=str), "a response")
    for name in ("subscriptions", "deliveries"):
        for one in api.get(f"/api/{name}/").json()["results"]:
            shown.assert_not_in(api.get(f"/api/{name}/{one['public_id']}/").content.decode(), f"the API's {name}")
    for delivery in Delivery.objects.all():
        page = browser.get(f"/admin/orderhooks/delivery/{delivery.pk}/change/").content.decode()
        shown.assert_not_in(page, "a delivery's page")
    for subscription in Subscription.objects.all():
        for last in ("change", "history"):
            address = f"/admin/orderhooks/subscription/{subscription.pk}/{last}/"
            shown.assert_not_in(browser.get(address).content.decode(), "a subscription's page")
        shown.assert_not_in(repr(vars(subscription)), "a subscription")


@pytest.mark.parametrize(
    ("owner", "name"), [(posting, "check_url"), (tokens, "urlencode"), (tokens, "_content"), (pool, "prepare")]
)
def test_error_reports_of_the_worker_hold_no_secret_of_a_login(
    server, owner: Any, name: str, monkeypatch, caplog
) -> None:
    make_delivery(subscription=make_subscription(authentication=oauth2(server)))
    monkeypatch.setattr(owner, name, lambda *_arguments, **_options: 1 / 0)
    with sending.Sender(threads=1) as sender:
        sender.claim(now=timezone.now())
    [error] = [record.exc_info[1] for record in caplog.records if record.exc_info]
    text = report(error)
    assert "ZeroDivisionError" in text
    for secret in (SECRET, TOKEN):
        assert secret not in text
    # A failure of our own is not held against the authorization server.
    assert not AccessToken.objects.exclude(lease=None).exists()
    assert Attempt.objects.get().error == "internal"


def test_error_reports_of_the_api_hold_no_secret_of_a_login(reports: list[str], monkeypatch) -> None:
    api = client_with(*EVERYTHING)
    api.raise_request_exception = False
    _chain, key = client_pem()
    monkeypatch.setattr(Subscription, "save_base", lambda *_arguments, **_options: 1 / 0)
    basic = {"type": "basic", "username": "shop", "password": PASSWORD}
    certificate = {"certificate": _chain, "private_key": key}
    body = {"name": "CRM", "topics": ["*"], "url": "https://crm.example/"}
    answer = post(api, "/subscriptions/", {**body, "authentication": basic, "client_certificate": certificate})
    assert answer.status_code == 500
    [text] = reports
    assert PASSWORD not in text
    assert key.splitlines()[1] not in text


def test_reencrypting_takes_logins_and_tokens_along(server, receiver, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["the first key of the store"]}
    chain, key = client_pem()
    certificate = {"certificate": chain, "private_key": key}
    subscription = make_subscription(url=receiver.url, authentication=oauth2(server))
    other = make_subscription(url="https://crm.example/", client_certificate=certificate)
    make_delivery(subscription=subscription)
    with sending.Sender(threads=1) as sender:
        sender.claim(now=timezone.now())
    both = ["the second key of the store", "the first key of the store"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": both}

    call_command("orderhooks_reencrypt", verbosity=0)

    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["the second key of the store"]}
    subscription.refresh_from_db()
    other.refresh_from_db()
    assert subscription.oauth2_client().client_secret == SECRET
    presented = other.presented_certificate()
    assert presented
    assert presented.private_key == key
    row = AccessToken.objects.get()
    assert row.text(login=row.login, now=timezone.now()) == TOKEN
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["a third key of the store"]}
    with pytest.raises(UndecryptableError):
        other.presented_certificate()
