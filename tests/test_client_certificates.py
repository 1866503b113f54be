"""Client certificates: a real TLS server that demands one, and connections that no other subscription uses."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from orderhooks.db.sealed_logins import seal_certificate
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.transport import certificates, connections
from tests.certificates import DAY, NOW, Authority, client_pem
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.login_servers import LoginEndpoint

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def authority(tmp_path: Path, settings) -> Authority:
    made = Authority(tmp_path)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "CA_BUNDLE": str(made.bundle)}
    return made


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[LoginEndpoint]:
    with LoginEndpoint(authority.server_context()) as running:
        yield running


def subscribe(url: str, pem: tuple[str, str] | None = None, **fields: object) -> Subscription:
    if pem:
        fields["client_certificate"] = {"certificate": pem[0], "private_key": pem[1]}
    subscription = make_subscription(url=url, **fields)
    subscription.save()
    return subscription


def deliver(subscription: Subscription) -> Attempt:
    delivery = make_delivery(event=make_event(), subscription=subscription)
    send_due()
    return Attempt.objects.get(delivery=delivery)


def test_an_endpoint_gets_the_certificate_that_it_demands(authority, endpoint):
    subscription = subscribe(
        endpoint.url,
        client_pem("the shop", issuer=authority),
        authentication={"type": "basic", "username": "shop", "password": "pa55word"},
    )
    assert deliver(subscription).status_code == 200
    assert endpoint.certificates == ["the shop"]
    assert endpoint.authorizations == ["Basic c2hvcDpwYTU1d29yZA=="]


def test_a_key_with_a_passphrase_is_kept_without_it(authority, endpoint):
    chain, key = client_pem("the shop", issuer=authority, passphrase="open sesame")
    login = {"certificate": chain, "private_key": key, "passphrase": "open sesame"}
    subscription = make_subscription(url=endpoint.url, client_certificate=login)
    assert "passphrase" not in subscription.client_certificate
    assert deliver(subscription).status_code == 200


def test_each_subscription_presents_its_own_and_no_connection_is_shared(authority, endpoint):
    first = subscribe(endpoint.url, client_pem("first", issuer=authority))
    second = subscribe(endpoint.url, client_pem("second", issuer=authority))
    without = subscribe(endpoint.url)
    for _ in range(2):
        assert deliver(first).status_code == 200
        assert deliver(second).status_code == 200
    refused = deliver(without)
    assert refused.error == "login"
    assert "demands a client certificate" in refused.detail
    assert endpoint.certificates == ["first", "second"] * 2
    # Each went on using its own connection.
    assert endpoint.ports[:2] == endpoint.ports[2:]
    assert endpoint.ports[0] != endpoint.ports[1]


def test_another_certificate_opens_another_connection(authority, endpoint):
    subscription = subscribe(endpoint.url, client_pem("former", issuer=authority))
    deliver(subscription)
    chain, key = client_pem("new", issuer=authority)
    subscription.client_certificate = {"certificate": chain, "private_key": key}
    subscription.save()
    deliver(subscription)
    assert endpoint.certificates == ["former", "new"]
    assert endpoint.ports[0] != endpoint.ports[1]


def test_a_certificate_that_the_endpoint_does_not_trust_is_an_outcome_of_its_own(endpoint):
    attempt = deliver(subscribe(endpoint.url, client_pem("a stranger")))
    assert attempt.error == "login"
    assert "does not trust the issuer" in attempt.detail
    assert endpoint.certificates == []


@pytest.mark.parametrize(
    ("starts", "ends", "text"),
    [(NOW - 9 * DAY, NOW - DAY, "expired at"), (NOW + DAY, NOW + 9 * DAY, "valid only from")],
)
def test_a_certificate_out_of_its_time_holds_the_delivery_without_a_request(authority, endpoint, starts, ends, text):
    subscription = subscribe(endpoint.url, client_pem(issuer=authority, starts=starts, ends=ends))
    attempt = deliver(subscription)
    assert attempt.error == "login"
    assert text in attempt.detail
    assert endpoint.requests == []
    assert Delivery.objects.get().state == Delivery.State.PENDING
    # Others get theirs.
    other = subscribe(endpoint.url, client_pem(issuer=authority))
    assert deliver(other).status_code == 200


def test_the_end_of_a_certificate_is_kept_beside_it(authority):
    subscription = subscribe("https://localhost/", client_pem(issuer=authority, ends=NOW + 7 * DAY))
    assert subscription.certificate_expires_at
    assert abs(subscription.certificate_expires_at - timezone.now() - 7 * DAY) < timedelta(hours=2)
    Subscription.objects.update(expiry_warnings_sent=2)
    subscription.refresh_from_db()
    subscription.save()
    assert subscription.expiry_warnings_sent == 2
    chain, key = client_pem(issuer=authority, ends=NOW + 60 * DAY)
    subscription.client_certificate = {"certificate": chain, "private_key": key}
    subscription.save(update_fields=["client_certificate"])
    subscription.refresh_from_db()
    assert subscription.expiry_warnings_sent == 0


@pytest.mark.parametrize("in_memory", [True, False])
def test_no_file_with_the_key_is_left(authority, monkeypatch, tmp_path, in_memory):
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    chain, key = client_pem(issuer=authority)
    assert certificates.normalized(chain, key) == (chain, key)
    assert list(folder.iterdir()) == []


def test_the_number_of_own_adapters_is_bounded(authority, endpoint, monkeypatch):
    monkeypatch.setattr(connections, "OWN_ADAPTERS", 2)
    monkeypatch.setattr(connections, "_own_adapters", type(connections._own_adapters)())
    subscriptions = [subscribe(endpoint.url, client_pem(str(number), issuer=authority)) for number in range(4)]
    for subscription in [*subscriptions, *subscriptions]:
        assert deliver(subscription).status_code == 200
    assert len(connections._own_adapters) == 2
    assert endpoint.certificates == ["0", "1", "2", "3"] * 2


@pytest.mark.parametrize(
    ("options", "is_read"),
    [
        (["-v2", "aes-256-cbc", "-iter", "2048"], True),
        (["-v2", "aes-256-cbc", "-iter", "600000"], True),
        (["-v2", "aes-256-cbc", "-iter", "20000000"], False),
        (["-scrypt"], True),
        (["-scrypt", "-scrypt_N", "1048576", "-scrypt_r", "8"], False),
    ],
)
def test_a_passphrase_that_takes_long_to_try_is_refused(options: list[str], is_read: bool) -> None:
    chain, key = client_pem()
    command = ["openssl", "pkcs8", "-topk8", *options, "-passout", "pass:hush"]
    done = subprocess.run(command, input=key, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this openssl makes no such key: {done.stderr[:100]}")
    given = {"certificate": chain, "private_key": done.stdout, "passphrase": "hush"}
    if is_read:
        assert seal_certificate(given)["private_key"].reveal() == key
        return
    with pytest.raises(ValidationError, match="would take too long"):
        seal_certificate(given)
