"""Signatures are those of Standard Webhooks: its reference vector and its Python and JavaScript libraries agree."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from orderhooks import signing
from orderhooks.signing import InvalidSecretError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJD" * 16
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
NODE_LIBRARY = "standardwebhooks@1.1.1"
CHECK_IN_NODE = """
const { Webhook } = require("standardwebhooks");
const { cases } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ secret, body, headers }) => {
  try { return new Webhook(secret).verify(body, headers) !== undefined; } catch (error) { return error.message; }
})));
"""


def headers_of(
    secrets: Iterable[str], *, webhook_id: str = ID, body: bytes = BODY, at: datetime | None = None
) -> dict[str, str]:
    moment = int((at or timezone.now()).timestamp())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": signing.signature_header(secrets, webhook_id, moment, body),
    }


def test_the_reference_vector_comes_out():
    assert signing.sign(SECRET, ID, 1614265330, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("body", [BODY, '{"name":"Jürgen 茶 🍵"}'.encode(), b"[]"])
def test_the_python_library_accepts_what_we_sign(body):
    Webhook(SECRET).verify(body, headers_of([SECRET], body=body))


def test_the_python_library_accepts_each_of_several_secrets():
    headers = headers_of([OTHER, SECRET])

    assert headers["webhook-signature"].count("v1,") == 2
    Webhook(SECRET).verify(BODY, headers)
    Webhook(OTHER).verify(BODY, headers)


def test_we_accept_what_the_python_library_signs():
    moment = datetime(2026, 11, 23, 10, tzinfo=UTC)
    signature = Webhook(SECRET).sign(ID, moment, BODY.decode())

    assert signing.verify([OTHER, SECRET], signature, ID, int(moment.timestamp()), BODY)


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the JavaScript library, kept outside the project from one run to the next."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = Path(tempfile.gettempdir()) / f"orderhooks-node-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "node_modules" / "standardwebhooks").exists():
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            NODE_LIBRARY,
        ]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm reached no registry within two minutes")
        if done.returncode:
            pytest.skip(f"npm could not install {NODE_LIBRARY}: {done.stderr.strip()[-300:]}")
    return folder


def test_the_javascript_library_accepts_what_we_sign_and_nothing_else(node_folder):
    body = '{"name":"Jürgen 茶 🍵"}'.encode()
    generated = signing.generate_secret()
    headers = headers_of([generated, SECRET], body=body)
    cases = [
        {"secret": generated, "body": body.decode(), "headers": headers},
        {"secret": SECRET, "body": body.decode(), "headers": headers},
        {"secret": OTHER, "body": body.decode(), "headers": headers},
        {"secret": SECRET, "body": body.decode() + " ", "headers": headers},
    ]
    done = subprocess.run(
        ["node", "-e", CHECK_IN_NODE],
        cwd=node_folder,
        input=json.dumps({"cases": cases}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, "No matching signature found", "No matching signature found"]


@pytest.mark.parametrize(
    "header",
    ["", " ", "v1,", "v1", "v2,{}", "v1a,{}", "V1,{}", "{}", "v1,{} ".replace("{}", "AAAA"), "v1,é", "v1,{}=", ",,, ,"],
)
def test_no_other_text_passes_for_a_signature(header):
    right = signing.sign(SECRET, ID, 1614265330, BODY).removeprefix("v1,")

    assert not signing.verify([SECRET], header.replace("{}", right), ID, 1614265330, BODY)


@pytest.mark.parametrize(
    ("webhook_id", "timestamp", "body"),
    [("msg_other", 1614265330, BODY), (ID, 1614265331, BODY), (ID, 1614265330, BODY + b" ")],
)
def test_id_time_and_body_are_all_signed(webhook_id, timestamp, body):
    signature = signing.sign(SECRET, ID, 1614265330, BODY)

    assert signing.verify([SECRET], signature, ID, 1614265330, BODY)
    assert not signing.verify([SECRET], signature, webhook_id, timestamp, body)


def test_a_generated_secret_is_48_bytes_without_padding_and_never_the_same():
    first, second = signing.generate_secret(), signing.generate_secret()

    assert first != second
    assert "=" not in first
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 48


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with"),
        ("", "begins with"),
        ("whsec_not base64 at all, is it?", "not valid base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "not valid base64"),
        ("whsec_é", "not valid base64"),
        ("whsec_" + "QUJD" * 7, "holds 21"),
        ("whsec_" + "QUJD" * 22, "holds 66"),
    ],
)
def test_a_text_that_can_not_be_a_secret_is_refused_without_being_shown(secret, why):
    with pytest.raises(InvalidSecretError, match=why) as refused:
        signing.sign(secret, ID, 1, BODY)

    assert not secret or secret.removeprefix("whsec_") not in str(refused.value)
    assert refused.value.__cause__ is None
