"""What `transport.post` costs against a plain `requests.Session`: CPU for a request, kept alive and over new TLS."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import requests
from django.conf import settings
from django.test import override_settings
from requests.adapters import HTTPAdapter
from urllib3.util import create_urllib3_context

from benchmarks import sink
from benchmarks.comparing import compare
from benchmarks.reporting import Measure
from orderhooks import signing, transport

BAR = 1.15
BODY = b'{"type": "order.paid", "data": "%s"}' % (b"x" * 1365)
SECRET = signing.generate_secret()
SIGNATURE = signing.sign(SECRET, "evt_2fQ8kq3mB6w1ZtYxNc7VdR", 1767225600, BODY)
# As `sending` makes them, and what it has redacted.
HEADERS = {
    "content-type": "application/json",
    "user-agent": "orderhooks/1.0",
    "webhook-id": "evt_2fQ8kq3mB6w1ZtYxNc7VdR",
    "webhook-timestamp": "1767225600",
    "webhook-topic": "order.paid",
    "webhook-attempt": "1",
    "webhook-signature": SIGNATURE,
}
REDACT = (SECRET, SIGNATURE)
CLOSING = {**HEADERS, "connection": "close"}
# A session goes through all of the environment for each request: what else stands in it would be to our advantage.
# Gone with it are proxies, and certificates that requests would take in place of the session's.
ENVIRONMENT = ("PATH", "HOME")


class SharedContextAdapter(HTTPAdapter):
    """For programs that open many TLS connections with requests: one context for all, its certificates read once."""

    def __init__(self, ca_bundle: str) -> None:
        self.context = create_urllib3_context()
        self.context.load_verify_locations(ca_bundle)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Otherwise requests would have certifi's certificates read into the context, again for each connection."""
        conn.cert_reqs = "CERT_REQUIRED"


def keep_alive() -> Iterator[Measure]:
    with _receiver() as receiver, requests.Session() as session:
        yield _keep_alive("transport_keep_alive", receiver, session)


def keep_alive_no_environment() -> Iterator[Measure]:
    with _receiver() as receiver, requests.Session() as session:
        session.trust_env = False
        yield _keep_alive("transport_keep_alive_no_environment", receiver, session)


def new_tls() -> Iterator[Measure]:
    with _receiver() as receiver, requests.Session() as session:
        session.verify = receiver.ca_bundle
        yield _new_tls("transport_new_tls", receiver, session)


def new_tls_shared_context() -> Iterator[Measure]:
    with _receiver() as receiver, requests.Session() as session:
        session.trust_env = False
        session.mount("https://", SharedContextAdapter(receiver.ca_bundle))
        yield _new_tls("transport_new_tls_shared_context", receiver, session)


def _keep_alive(name: str, receiver: sink.Sink, session: requests.Session) -> Measure:
    url = receiver.http
    _require_answers(url, HEADERS, session, ["1", "2"])
    compared = compare(_ours(url, HEADERS), _reference(url, HEADERS, session), rounds=7, calls=400, slices=20)
    return Measure(name, compared.ratio, "ratio", BAR, details={**compared.details(), "sink": receiver.kind})


def _new_tls(name: str, receiver: sink.Sink, session: requests.Session) -> Measure:
    url = receiver.https
    _require_answers(url, CLOSING, session, ["1.", "1."])
    compared = compare(_ours(url, CLOSING), _reference(url, CLOSING, session), rounds=9, calls=60, slices=6)
    return Measure(name, compared.ratio, "ratio", BAR, details={**compared.details(), "sink": receiver.kind})


@contextlib.contextmanager
def _receiver() -> Iterator[sink.Sink]:
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    with (
        mock.patch.dict(os.environ, kept, clear=True),
        sink.running() as receiver,
        override_settings(ORDERHOOKS={**settings.ORDERHOOKS, "CA_BUNDLE": receiver.ca_bundle}),
    ):
        yield receiver


def _ours(url: str, headers: dict[str, str]) -> Callable[[], None]:
    def call() -> None:
        outcome = transport.post(url + "/", BODY, headers, redact=REDACT)
        if outcome.response_body != "ok":
            raise RuntimeError(f"The sink did not respond: {outcome.detail}")

    return call


def _reference(url: str, headers: dict[str, str], session: requests.Session) -> Callable[[], None]:
    def call() -> None:
        response = session.post(url + "/", data=BODY, headers=headers, timeout=15, allow_redirects=False)
        if response.content != b"ok":
            raise RuntimeError(f"The sink did not respond: {response.status_code}")

    return call


def _require_answers(url: str, headers: dict[str, str], session: requests.Session, expected: list[str]) -> None:
    """Both sides keep or renew their connections as the benchmark is named, and resume no TLS session."""
    url += "/count"
    ours = [transport.post(url, BODY, headers).response_body for _ in expected]
    reference = [session.post(url, data=BODY, headers=headers, timeout=15).text for _ in expected]
    if ours != expected or reference != expected:
        raise RuntimeError(f"Connections are not as they should be: {ours}, {reference} in place of {expected}.")


BENCHMARKS = {
    "transport_keep_alive": keep_alive,
    "transport_keep_alive_no_environment": keep_alive_no_environment,
    "transport_new_tls": new_tls,
    "transport_new_tls_shared_context": new_tls_shared_context,
}
