"""How a subscription logs in, in the API: written, never read, kept to its host, refused with the remedy."""

import json

import pytest
from django.contrib.admin.models import LogEntry

from orderhooks.models import Subscription
from tests.api.calls import EVERYTHING, client_with, errors_of, patch, post
from tests.certificates import client_pem
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db
URL = "https://crm.example/webhooks"
NEW = {"name": "CRM", "url": URL, "topics": ["*"]}
BASIC = {"type": "basic", "username": "shop", "password": "pa55word: ü"}
OAUTH2 = {
    "type": "oauth2",
    "token_url": "https://auth.example/token",
    "client_id": "shop",
    "client_secret": "s3cr3t of the client",
}


@pytest.fixture(scope="module")
def pem() -> tuple[str, str]:
    return client_pem()


def test_an_authentication_is_written_and_its_secret_is_never_read():
    api = client_with(*EVERYTHING)
    made = post(api, "/subscriptions/", {**NEW, "authentication": BASIC})
    assert made.status_code == 201
    assert made.data["authentication"] == {**BASIC, "password": "(hidden)"}
    subscription = Subscription.objects.get()
    assert subscription.basic_login() == ("shop", "pa55word: ü")
    path = f"/subscriptions/{subscription.public_id}/"

    assert (
        patch(api, path, {"authentication": {**BASIC, "username": "other", "password": "(hidden)"}}).status_code == 200
    )
    subscription.refresh_from_db()
    assert subscription.basic_login() == ("other", "pa55word: ü")

    changed = patch(api, path, {"authentication": OAUTH2})
    assert changed.data["authentication"] == {
        **OAUTH2,
        "client_secret": "(hidden)",
        "client_authentication": "client_secret_basic",
    }
    assert "Changed authentication." in LogEntry.objects.latest("pk").change_message
    assert patch(api, path, {"authentication": {"type": "none"}}).data["authentication"] == {"type": "none"}
    for text in (json.dumps(list(LogEntry.objects.values()), default=str), repr(subscription.__dict__)):
        assert "pa55word" not in text
        assert "s3cr3t" not in text


@pytest.mark.parametrize(
    ("authentication", "pointer", "text"),
    [
        ({"type": "digest"}, "/type", "must be one of none, basic, oauth2"),
        ({"type": ["basic"]}, "/type", "must be one of none, basic, oauth2"),
        ({}, "/type", "is missing"),
        ({**BASIC, "username": "a:b"}, "/username", "colon"),
        ({**BASIC, "password": ""}, "/password", "is missing"),
        ({**BASIC, "password": "(hidden)"}, "/password", "is missing"),
        ({**BASIC, "password": "a\nb"}, "/password", "no line breaks"),
        ({**BASIC, "scope": "x"}, "/scope", "not a member of the type basic"),
        ({**OAUTH2, "token_url": "http://10.0.0.1/token"}, "/token_url", "Use"),
        ({**OAUTH2, "token_url": "https://auth.example/\u202etoken"}, "/token_url", "U+202E"),
        ({**OAUTH2, "scope": 'a"b'}, "/scope", "without quotes"),
        ({**OAUTH2, "client_authentication": "private_key_jwt"}, "/client_authentication", "must be one of"),
        ({**OAUTH2, "client_id": 5}, "/client_id", "must be a text"),
        ("basic", "", "Send an object."),
    ],
)
def test_what_is_not_valid_is_refused_at_its_member(authentication, pointer, text):
    refused = post(client_with(*EVERYTHING), "/subscriptions/", {**NEW, "authentication": authentication})
    assert refused.status_code in (400, 422)
    assert text in errors_of(refused)[f"/authentication{pointer}"]


def test_a_request_has_one_authorization():
    api = client_with(*EVERYTHING)
    headers = {"authorization": "Bearer x"}
    refused = post(api, "/subscriptions/", {**NEW, "authentication": BASIC, "headers": headers})
    assert refused.status_code == 422
    assert "Remove that header" in errors_of(refused)["/authentication"]
    subscription = make_subscription(url=URL, authentication=BASIC)
    refused = patch(api, f"/subscriptions/{subscription.public_id}/", {"headers": headers})
    assert "Remove that header" in errors_of(refused)["/authentication"]


def test_another_host_does_not_get_the_login():
    api = client_with(*EVERYTHING)
    subscription = make_subscription(url=URL, authentication=BASIC)
    path = f"/subscriptions/{subscription.public_id}/"
    moved = {"url": "https://elsewhere.example/"}

    refused = patch(api, path, {**moved, "authentication": {**BASIC, "password": "(hidden)"}})
    assert refused.status_code == 422
    assert "Send its secret again" in errors_of(refused)["/authentication"]

    assert patch(api, path, {"url": f"{URL}/other"}).data["authentication"]["type"] == "basic"
    assert patch(api, path, moved).data["authentication"] == {"type": "none"}
    assert "Dropped authentication" in LogEntry.objects.latest("pk").change_message
    assert patch(api, path, {**moved, "authentication": BASIC}).data["authentication"]["type"] == "basic"


def test_another_authorization_server_does_not_get_the_hidden_secret():
    api = client_with(*EVERYTHING)
    subscription = make_subscription(url=URL, authentication=OAUTH2)
    path = f"/subscriptions/{subscription.public_id}/"
    hidden = {**OAUTH2, "client_secret": "(hidden)"}

    assert patch(api, path, {"authentication": {**hidden, "token_url": "https://auth.example/v2"}}).status_code == 200
    refused = patch(api, path, {"authentication": {**hidden, "token_url": "https://evil.example/token"}})
    assert refused.status_code == 422
    assert "give it again" in errors_of(refused)["/authentication/client_secret"]


def test_a_client_certificate_is_written_and_its_key_is_never_read(pem):
    api = client_with(*EVERYTHING)
    chain, key = pem
    given = {"certificate": chain, "private_key": key}
    made = post(api, "/subscriptions/", {**NEW, "client_certificate": given})
    assert made.status_code == 201, made.data
    shown = made.data["client_certificate"]
    assert shown["private_key"] == "(hidden)"
    assert shown["subject"] == "CN=orderhooks"
    subscription = Subscription.objects.get()
    assert subscription.certificate_expires_at is not None
    presented = subscription.presented_certificate()
    assert presented
    assert presented.private_key == key
    assert "PRIVATE KEY" not in json.dumps(shown)
    path = f"/subscriptions/{subscription.public_id}/"

    kept = patch(api, path, {"client_certificate": {"certificate": chain, "private_key": "(hidden)"}})
    assert kept.status_code == 200
    assert patch(api, path, {"url": "https://elsewhere.example/"}).data["client_certificate"] is None
    assert patch(api, path, {"client_certificate": given}).data["client_certificate"] is not None
    assert patch(api, path, {"client_certificate": None}).data["client_certificate"] is None
    subscription.refresh_from_db()
    assert subscription.certificate_expires_at is None


def test_what_is_wrong_with_a_certificate_is_said_at_its_member(pem):
    api = client_with(*EVERYTHING)
    chain, key = pem
    _other_chain, other_key = client_pem()
    cases = [
        ({"certificate": "nonsense", "private_key": key}, "/certificate", "not a certificate in PEM"),
        ({"certificate": chain, "private_key": "nonsense"}, "/private_key", "not a private key in PEM"),
        ({"certificate": chain, "private_key": other_key}, "/private_key", "does not belong"),
        ({"certificate": chain, "private_key": "(hidden)"}, "/private_key", "give it again"),
        ({"certificate": chain, "private_key": "(hidden)", "passphrase": "x"}, "/passphrase", "Give that again too"),
        ({"passphrase": "x"}, "/private_key", "is missing"),
        ({"certificate": chain}, "/private_key", "is missing"),
        ({"certificate": chain, "private_key": key, "passphrase": "x"}, "/passphrase", "no passphrase"),
        ({"certificate": chain, "private_key": client_pem(passphrase="x")[1]}, "/passphrase", "Give its passphrase"),
    ]
    for given, pointer, text in cases:
        refused = post(api, "/subscriptions/", {**NEW, "client_certificate": given})
        assert refused.status_code == 422, given
        assert text in errors_of(refused)[f"/client_certificate{pointer}"]
    refused = post(
        api,
        "/subscriptions/",
        {**NEW, "url": "http://127.0.0.1:8080/", "client_certificate": {"certificate": chain, "private_key": key}},
    )
    assert "https URL" in errors_of(refused)["/client_certificate"]


def test_a_certificate_is_removed_by_null_alone() -> None:
    api = client_with(*EVERYTHING)
    chain, key = client_pem()
    body = {"name": "CRM", "topics": ["*"], "url": "https://crm.example/"}
    made = post(api, "/subscriptions/", {**body, "client_certificate": {"certificate": chain, "private_key": key}})
    address = f"/subscriptions/{made.data['public_id']}/"
    assert patch(api, address, {"client_certificate": {}}).status_code == 400
    assert Subscription.objects.get().client_certificate
    assert patch(api, address, {"client_certificate": None}).status_code == 200
    assert not Subscription.objects.get().client_certificate
