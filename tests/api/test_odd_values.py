"""Odd JSON in any member of a subscription: refused at the member with a sentence, never an error of the server."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from rest_framework.test import APIClient

from orderhooks.db.sealed_logins import LOGINS
from orderhooks.models import Subscription
from orderhooks.models.configuration import CONFIGURABLE
from tests.api.calls import EVERYTHING, client_with
from tests.certificates import client_pem
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db
URL = "https://crm.example/webhooks"
BASIC = {"type": "basic", "username": "shop", "password": "pa55word"}
OAUTH2 = {"type": "oauth2", "token_url": "https://auth.example/t", "client_id": "shop", "client_secret": "s3cr3t"}
NEW = {"name": "CRM", "url": URL, "topics": ["order.updated"]}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    1e300,
    "",
    " ",
    "(hidden)",
    "x\x01y",
    "\ud800",
    "\u0661",
    "é" * 3000,
    [],
    {},
    [None],
    [1],
    [[]],
    [{}],
    ["(hidden)"],
    ["order.*", {"a": []}],
    {"": None},
    {"type": None},
    {"type": {}},
    {"type": []},
    {"sealed": "x"},
    {"certificate": "x", "private_key": {"sealed": "x"}},
    {"a": {"b": [1, {"c": None}]}},
]


LOGIN_MEMBERS = [
    (sent, name)
    for sent in (BASIC, OAUTH2)
    for name in ("type", "unknown", *(one.name for one in LOGINS[sent["type"]]))
]


def statuses(api: APIClient, stored: Subscription, sent: dict[str, Any]) -> list[int]:
    """What each door that takes these members answers."""
    name = f"/api/subscriptions/{stored.public_id}/"
    doors: list[tuple[Any, str, dict[str, Any]]] = [
        (api.post, "/api/subscriptions/", {**NEW, **sent}),
        (api.patch, name, sent),
        (api.put, "/api/subscriptions/by-name/ERP/", {**NEW, **sent}),
        (api.post, "/api/subscriptions/try/", sent),
    ]
    # In ASCII, so that half a character is sent as it is.
    return [send(path, json.dumps(body), content_type="application/json").status_code for send, path, body in doors]


def assert_no_error(sent: Iterable[dict[str, Any]]) -> None:
    api = client_with(*EVERYTHING)
    api.raise_request_exception = False
    stored = make_subscription(url=URL, authentication=OAUTH2)
    for one in sent:
        found = statuses(api, stored, one)
        assert max(found) < 500, (one, found)
    # What was taken can be read.
    assert api.get("/api/subscriptions/").status_code == 200


@pytest.mark.parametrize("name", CONFIGURABLE)
def test_no_member_of_a_subscription_is_an_error_of_the_server(name):
    assert_no_error({name: odd} for odd in ODD)


@pytest.mark.parametrize(("sent", "name"), LOGIN_MEMBERS)
def test_no_member_of_a_login_is_an_error_of_the_server(sent, name):
    assert_no_error({"authentication": {**sent, name: odd}} for odd in ODD)


@pytest.mark.parametrize("name", ["certificate", "private_key", "passphrase", "unknown"])
def test_no_member_of_a_client_certificate_is_an_error_of_the_server(name):
    chain, key = client_pem()
    whole = {"certificate": chain, "private_key": key}
    assert_no_error({"client_certificate": {**whole, name: odd}} for odd in ODD)
