"""The programs for receivers, each run as it is shown: a signed request is taken, a tampered one is not."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import path
from django.utils import timezone

from orderhooks import sending, transport
from orderhooks.admin.subscriptions.code_samples import PROGRAMS, SECRET_VARIABLE, snippets_for
from orderhooks.models import Receipt, Subscription
from tests.factories import make_delivery, make_event
from tests.store_formats import ERP

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/hooks/orders"
# Those that a program reads in another way than JSON with an envelope, and one of a store's own.
FORMATS = ["cloudevents", "cloudevents_binary", "form", "erp"]
STARTS_WITHIN_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def code(name: str, subscription: Subscription) -> str:
    [snippet] = [snippet for snippet in snippets_for(subscription) if snippet.name == name]
    return snippet.code


@contextmanager
def running(command: list[str], *, port: int, folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that listens on the port; it is ended in the end."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")}
    output = (folder / "output.txt").open("w+")
    process = subprocess.Popen(
        command, cwd=folder, env={**kept, **environment}, stdout=output, stderr=subprocess.STDOUT, text=True
    )
    try:
        until = time.monotonic() + STARTS_WITHIN_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command} did not start: {_read(output)}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(10)
        output.close()


def _read(output) -> str:
    output.seek(0)
    return output.read()


def outcomes(url: str, subscription: Subscription) -> dict[str, int | None]:
    """How the receiver responds to valid requests, and to others, by their kind."""
    delivery = make_delivery(event=make_event(payload={"order": {"name": "Zoë"}}), subscription=subscription)
    request = sending.prepare(delivery, now=timezone.now())
    old = sending.prepare(delivery, now=timezone.now() - timedelta(minutes=10))
    stranger, _secret = Subscription.create_with_secret(name="another", url=url, topics=["*"])
    delivery.subscription = stranger
    forged = sending.prepare(delivery, now=timezone.now())
    signature = request.headers["webhook-signature"]
    without = {name: value for name, value in request.headers.items() if name != "webhook-signature"}
    if subscription.asks_consent:
        asked = transport.options(url, {"webhook-request-origin": "shop.example.com"}).response_headers
        assert {name.lower(): value for name, value in asked.items()}["webhook-allowed-origin"] == "*"
    tampered = request.body.replace("Zoë".encode(), b"Mallory").replace(b"Zo%C3%AB", b"Mallory")
    kinds: dict[str, tuple[bytes, Mapping[str, str]]] = {
        "good": (request.body, request.headers),
        "rotated": (request.body, {**request.headers, "webhook-signature": f"v1,AAAA {signature}"}),
        "tampered": (tampered if tampered != request.body else tampered + b" ", request.headers),
        "forged": (forged.body, forged.headers),
        "stale": (old.body, old.headers),
        "without a signature": (request.body, without),
        "with an empty signature": (request.body, {**request.headers, "webhook-signature": ""}),
        "with half a signature": (request.body, {**request.headers, "webhook-signature": signature[:-8]}),
        "with another id": (request.body, {**request.headers, "webhook-id": "evt_1"}),
        "with another time": (request.body, {**request.headers, "webhook-timestamp": str(int(time.time()) + 7)}),
        "with no time": (request.body, {**request.headers, "webhook-timestamp": "soon"}),
    }
    return {kind: transport.post(url, *parts).status_code for kind, parts in kinds.items()}


def assert_right(answers: dict[str, int | None]) -> None:
    wrong = {
        kind: status
        for kind, status in answers.items()
        if status not in (range(200, 300) if kind in ("good", "rotated") else range(400, 500))
    }
    assert wrong == {}
    assert len(answers) == 11


@pytest.fixture
def subscribe() -> Callable[[int], tuple[Subscription, str, str]]:
    """A subscription to a program on that port, its URL and its secret."""

    def make(port: int, **fields: Any) -> tuple[Subscription, str, str]:
        url = f"http://127.0.0.1:{port}{PATH}"
        subscription, secret = Subscription.create_with_secret(name="w", url=url, topics=["*"], **fields)
        return subscription, url, secret

    return make


def test_every_program_is_run_here() -> None:
    tested = {
        name.removeprefix("test_the_").removesuffix("_program_works") for name in globals() if "_program_" in name
    }
    assert tested >= {name for name, _title, _needs in PROGRAMS}


class Urls:
    """An URLconf that a test fills."""

    urlpatterns: list[object] = []


@pytest.mark.parametrize(
    ("signature", "format"),
    [("standard", "standard"), ("ed25519", "form"), ("stripe", "cloudevents"), ("standard", "cloudevents_binary")],
)
def test_the_django_program_works(live_server, subscribe, settings, monkeypatch, signature: str, format: str) -> None:
    subscription, url, secret = subscribe(live_server.thread.port, signature=signature, format=format)
    monkeypatch.setenv(SECRET_VARIABLE, subscription.secrets.get().public_key or secret)
    names: dict[str, Any] = {"__name__": "receivers"}
    program = code("django", subscription)
    exec(program, names)
    # As its first line says.
    assert f'path("{PATH[1:]}", receivers.webhooks)' in program
    monkeypatch.setattr(Urls, "urlpatterns", [path(PATH[1:], names["webhooks"])])
    settings.ROOT_URLCONF = Urls
    assert_right(outcomes(url, subscription))
    # Both good ones have the same id: the view was called once.
    assert Receipt.objects.count() == 1


@pytest.mark.parametrize(
    ("signature", "format"), [("standard", "standard"), ("github", "thin"), *(("standard", one) for one in FORMATS)]
)
def test_the_flask_program_works(subscribe, settings, tmp_path: Path, signature: str, format: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": ERP}}
    port = free_port()
    subscription, url, secret = subscribe(port, signature=signature, format=format)
    (tmp_path / "receiver.py").write_text(code("flask", subscription))
    command = [sys.executable, "-m", "flask", "--app", "receiver", "run", "--port", str(port)]
    with running(command, port=port, folder=tmp_path, **{SECRET_VARIABLE: secret}):
        assert_right(outcomes(url, subscription))


@pytest.mark.parametrize("format", ["standard", *FORMATS])
def test_the_node_program_works(subscribe, settings, tmp_path: Path, format: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": ERP}}
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on this machine")
    port = free_port()
    subscription, url, secret = subscribe(port, format=format)
    (tmp_path / "receiver.mjs").write_text(code("node", subscription))
    with running(
        [node, "receiver.mjs"], port=port, folder=tmp_path, PORT=str(port), **{SECRET_VARIABLE: secret}
    ) as process:
        assert_right(outcomes(url, subscription))
        # Nothing that it was sent has ended it.
        assert process.poll() is None


@pytest.mark.parametrize("format", ["standard", *FORMATS])
def test_the_php_program_works(subscribe, settings, tmp_path: Path, format: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": ERP}}
    php = shutil.which("php")
    if php is None:
        pytest.skip("there is no php on this machine")
    port = free_port()
    subscription, url, secret = subscribe(port, format=format)
    (tmp_path / "receiver.php").write_text(code("php", subscription))
    with running(
        [php, "-S", f"127.0.0.1:{port}", "receiver.php"], port=port, folder=tmp_path, **{SECRET_VARIABLE: secret}
    ):
        assert_right(outcomes(url, subscription))


# What an attacker knows too: a request that is signed with it must not be taken.
# The last is a public key; the same each time, as names of tests hold it.
KNOWN_TO_ALL = ["", "whsec_", "whpk_tzl61LZexysk9FQ8txG+hiTSr01GrLZeGOFF+6hR/sc="]


@pytest.mark.parametrize("secret", KNOWN_TO_ALL)
@pytest.mark.parametrize(
    ("name", "file", "command"),
    [
        ("flask", "receiver.py", [sys.executable, "-m", "flask", "--app", "receiver", "run", "--port", "0"]),
        ("node", "receiver.mjs", ["node", "receiver.mjs"]),
    ],
)
def test_a_program_does_not_start_with_a_key_that_everybody_knows(
    subscribe, tmp_path: Path, name: str, file: str, command: list[str], secret: str
) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"there is no {command[0]} on this machine")
    subscription, _url, _secret = subscribe(80)
    (tmp_path / file).write_text(code(name, subscription))
    environment = {**os.environ, "PORT": "0", SECRET_VARIABLE: secret}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=STARTS_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert f"Set {SECRET_VARIABLE} to the signing secret" in done.stderr


@pytest.mark.parametrize("secret", KNOWN_TO_ALL)
def test_the_php_program_takes_nothing_with_a_key_that_everybody_knows(subscribe, tmp_path: Path, secret: str) -> None:
    php = shutil.which("php")
    if php is None:
        pytest.skip("there is no php on this machine")
    port = free_port()
    subscription, url, _secret = subscribe(port)
    (tmp_path / "receiver.php").write_text(code("php", subscription))
    command = [php, "-S", f"127.0.0.1:{port}", "receiver.php"]
    with running(command, port=port, folder=tmp_path, **{SECRET_VARIABLE: secret}):
        assert transport.post(url, b"{}", {}).status_code == 500


@pytest.mark.parametrize("secret", [*KNOWN_TO_ALL[:2], "whsec_!!"])
def test_the_django_program_takes_nothing_with_a_key_that_is_none(subscribe, rf, monkeypatch, secret: str) -> None:
    subscription, _url, _secret = subscribe(80)
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    names: dict[str, Any] = {"__name__": "receivers"}
    exec(code("django", subscription), names)
    request = sending.prepare(make_delivery(subscription=subscription), now=timezone.now())
    answer = names["webhooks"](rf.post(PATH, request.body, "application/json", headers=request.headers))
    assert answer.status_code == 500
