"""Odd JSON in any member of a subscription: refused at the member with a sentence, never an error of the server.

It is a 400 only if the OpenAPI document forbids it.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from orderhooks.api.openapi.generator import document
from orderhooks.api.urls import documented
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
    "x\x92y",
    "x\u202ey",
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


@cache
def body_schema(name: str) -> Draft202012Validator:
    whole = document(documented, server="/api")
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": whole["components"]})


def answers(api: APIClient, stored: Subscription, sent: dict[str, Any]) -> Iterator[tuple[int, bool]]:
    """What each door that takes these members answers, and whether the document allows such a body."""
    name = f"/api/subscriptions/{stored.public_id}/"
    doors: list[tuple[Any, str, dict[str, Any], str]] = [
        (api.post, "/api/subscriptions/", {**NEW, **sent}, "SubscriptionRequest"),
        (api.patch, name, sent, "PatchedSubscriptionRequest"),
        (api.put, "/api/subscriptions/by-name/ERP/", {**NEW, **sent}, "NamedSubscriptionRequest"),
        (api.post, "/api/subscriptions/try/", sent, "ChoiceRequest"),
    ]
    for send, path, body, schema in doors:
        # In ASCII, so that half a character is sent as it is.
        response = send(path, json.dumps(body), content_type="application/json")
        yield response.status_code, body_schema(schema).is_valid(body)


def has_half_a_character(sent: Any) -> bool:
    """JSON Schema can't forbid it."""
    return "\\ud800" in json.dumps(sent)


def assert_answered(sent: Iterable[dict[str, Any]]) -> None:
    api = client_with(*EVERYTHING)
    api.raise_request_exception = False
    stored = make_subscription(url=URL, authentication=OAUTH2)
    for one in sent:
        for status, is_allowed in answers(api, stored, one):
            assert status < 500, one
            assert not (status == 400 and is_allowed) or has_half_a_character(one), one
    # What was taken can be read.
    assert api.get("/api/subscriptions/").status_code == 200


@pytest.mark.parametrize("name", sorted(CONFIGURABLE))
def test_odd_members_of_a_subscription_get_the_documented_response(name):
    assert_answered({name: odd} for odd in ODD)


@pytest.mark.parametrize(("sent", "name"), LOGIN_MEMBERS)
def test_odd_members_of_a_login_get_the_documented_response(sent, name):
    assert_answered({"authentication": {**sent, name: odd}} for odd in ODD)


@pytest.mark.parametrize("name", ["certificate", "private_key", "passphrase", "unknown"])
def test_odd_members_of_a_client_certificate_get_the_documented_response(name):
    chain, key = client_pem()
    whole = {"certificate": chain, "private_key": key}
    assert_answered({"client_certificate": {**whole, name: odd}} for odd in ODD)
