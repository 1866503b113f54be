"""The script that sends a delivery once more: it is really run, and what arrives is really verified."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orderhooks import payloads, sending
from orderhooks.models import Delivery, Subscription
from orderhooks.receiver import verify
from orderhooks.sending import curl
from orderhooks.signing import PROFILES, Message, profile_headers
from tests.factories import make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db

HOSTILE = {
    "quotes": "it's \"quoted\" '\"'\"' `touch here`",
    "shell": "$(touch here) ${HOME} $HOME \\ \\n %s %% !! ; touch here & | < > # ~ * ? [a]",
    "lines": "one\ntwo\r\n\tthree\u2028four",
    "text": "Grüße, 東京, \N{GRINNING FACE}, \x7f",
    "end": "EOF\n'\n",
}
SHELLS = ["bash", "dash"]


@pytest.fixture
def run(service: Callable[[str], None], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in an empty folder; returns what it wrote, and how it ended."""
    if missing := [name for name in ("openssl", "curl", "od") if shutil.which(name) is None]:
        service(f"{', '.join(missing)} is not installed")

    def run(script: str, *, shell: str = "sh", **environment: str) -> subprocess.CompletedProcess[str]:
        if shutil.which(shell) is None:
            service(f"{shell} is not installed")
        folder = tmp_path / "run"
        folder.mkdir()
        file = tmp_path / "script"
        file.write_text(script)
        ended = subprocess.run(
            [shell, file],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert list(folder.iterdir()) == [], "the script ran what was to be sent"
        return ended

    return run


def delivery_to(url: str, **fields: Any) -> tuple[Delivery, str]:
    subscription = make_subscription(url=url, **fields)
    event = make_event(payload={"order": HOSTILE, "changes": {}}, topic="order.paid", store="it's")
    [secret] = [row.reveal() for row in subscription.secrets.all()]
    return make_delivery(subscription=subscription, event=event, attempts_made=3), secret


def keys_of(subscription: Subscription, secret: str) -> str:
    return subscription.secrets.get().public_key or secret


@pytest.mark.parametrize("shell", SHELLS)
def test_a_hostile_body_arrives_byte_for_byte_and_signed(run, receiver, shell):
    delivery, secret = delivery_to(receiver.url + "?a=[1-3]&b={x,y}&c='$(touch${IFS}here)")
    ended = run(sending.curl_script(delivery), shell=shell, WEBHOOK_SECRET=secret)
    assert ended.stderr == ""
    assert "200 OK" in ended.stdout
    [got] = receiver.received
    assert got.body == payloads.encode(payloads.envelope(delivery.event))
    event = verify(got.body, dict(got.headers), secret)
    assert (event.id, event.topic, event.attempt) == (delivery.event.public_id, "order.paid", 3)
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("signature", PROFILES)
def test_every_profile_signs_as_a_delivery_does(run, receiver, signature):
    delivery, secret = delivery_to(receiver.url, signature=signature)
    assert run(sending.curl_script(delivery), WEBHOOK_SECRET=secret).stderr == ""
    [got] = receiver.received
    verify(got.body, dict(got.headers), keys_of(delivery.subscription, secret))
    moment = int(got.headers["webhook-timestamp"])
    message = Message(
        delivery.event.public_id, "order.paid", moment, payloads.encode(payloads.envelope(delivery.event))
    )
    expected = profile_headers(signature, message, [secret])
    assert {name: got.headers[name] for name in expected} == expected


def test_all_headers_of_a_delivery_are_sent(run, receiver):
    delivery, secret = delivery_to(receiver.url)
    run(sending.curl_script(delivery), WEBHOOK_SECRET=secret)
    [got] = receiver.received
    prepared = sending.prepare(delivery, now=delivery.created_at)
    assert set(prepared.headers) <= {name.lower() for name in got.headers}


def test_own_headers_come_from_the_environment_and_stand_nowhere_else(run, receiver):
    hidden = {"X-Api-Key": "s3cret \"'$(touch here)", "X.Api.Key": "other", "X-`touch`'$h": "third"}
    delivery, secret = delivery_to(receiver.url, headers=hidden)
    script = sending.curl_script(delivery)
    assert "s3cret" not in script
    assert secret not in script
    names = dict(curl._variables(delivery.subscription.headers))
    ended = run(script, WEBHOOK_SECRET=secret, **{variable: hidden[name] for variable, name in names.items()})
    assert ended.stderr == ""
    [got] = receiver.received
    assert {name: got.headers[name] for name in hidden} == hidden


@pytest.mark.parametrize(
    ("environment", "missing"),
    [({}, "WEBHOOK_SECRET"), ({"WEBHOOK_SECRET": "whsec_"}, "HEADER_X_API_KEY"), ({"WEBHOOK_SECRET": "x"}, "whsec_")],
)
def test_a_variable_that_is_missing_is_named_and_nothing_is_sent(run, receiver, environment, missing):
    delivery, _secret = delivery_to(receiver.url, headers={"X-Api-Key": "s3cret"})
    ended = run(sending.curl_script(delivery), **environment)
    assert ended.returncode == 64
    assert missing in ended.stderr
    assert receiver.received == []


def test_it_leaves_no_key_behind(run, receiver, tmp_path: Path):
    delivery, secret = delivery_to(receiver.url, signature="ed25519")
    run(sending.curl_script(delivery), WEBHOOK_SECRET=secret)
    assert {one.name for one in tmp_path.iterdir()} == {"run", "script"}


def test_a_body_longer_than_an_argument_may_be_arrives(run, receiver):
    delivery, secret = delivery_to(receiver.url)
    delivery.event.payload = {"order": {"note": "it's $(touch here) " * 60_000}}
    assert run(sending.curl_script(delivery), WEBHOOK_SECRET=secret).stderr == ""
    [got] = receiver.received
    assert verify(got.body, dict(got.headers), secret).data == delivery.event.payload
