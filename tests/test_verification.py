"""Only what was signed is let in, and a refusal says why."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from orderhooks import payloads, signing
from orderhooks.models import Event
from orderhooks.receiver import InvalidWebhookError, ReceivedEvent, verify
from orderhooks.receiver.verification import TOLERANCE_SECONDS, Secrets
from tests.signed_webhooks import BODY, CONTENT, ID, NOW, OTHER, SECRET, signed


def refusal(
    body: bytes = BODY,
    headers: Mapping[str, str] | None = None,
    secrets: Secrets = SECRET,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    with pytest.raises(InvalidWebhookError) as refused:
        verify(body, signed() if headers is None else headers, secrets, now=NOW, tolerance_seconds=tolerance_seconds)
    return str(refused.value)


def test_a_signed_event_is_understood() -> None:
    event = verify(BODY, signed(attempt="3"), SECRET, now=NOW)

    assert event == ReceivedEvent(
        id=ID,
        topic="order.paid",
        occurred_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
        sequence=812,
        source="orderhooks",
        store="berlin",
        api_version="2026-11-01",
        data=CONTENT["data"],
        attempt=3,
    )


def test_the_body_that_the_sender_builds_is_understood() -> None:
    row = Event(
        topic="order.paid",
        sequence=7,
        store="",
        payload={"order": {"note": "Grüße 🍵"}, "changes": {}},
        occurred_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
    )
    body = payloads.encode(payloads.envelope(row))

    event = verify(body, signed(body, webhook_id=row.public_id), SECRET, now=NOW)

    assert (event.id, event.sequence, event.occurred_at) == (row.public_id, 7, row.occurred_at)
    assert event.data == row.payload


def test_what_the_standard_library_signs_is_accepted() -> None:
    signature = Webhook(SECRET).sign(ID, datetime.fromtimestamp(NOW, UTC), BODY.decode())

    assert verify(BODY, {**signed(), "webhook-signature": signature}, SECRET, now=NOW).id == ID


@pytest.mark.parametrize("change", [str.upper, str.title])
def test_headers_are_found_in_any_case(change: Callable[[str], str]) -> None:
    headers = {change(name): value for name, value in signed().items()}

    assert verify(BODY, headers, SECRET, now=NOW).id == ID


def test_any_of_several_secrets_will_do() -> None:
    assert verify(BODY, signed(), (secret for secret in (OTHER, SECRET)), now=NOW)
    assert verify(BODY, signed(secrets=[OTHER, SECRET]), SECRET, now=NOW)


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"1001", b"1002"), b"", b"\xff\xfe", b"null"])
def test_a_body_that_is_not_the_signed_one_is_refused_and_the_cause_named(body: bytes) -> None:
    assert "raw" in refusal(body)


def test_a_wrong_secret_is_refused_and_no_secret_shown() -> None:
    text = refusal(secrets=[OTHER])

    assert "Compare the secret" in text
    assert OTHER not in text
    assert SECRET not in text


@pytest.mark.parametrize("change", [{"source": None}, {"source": 3}, {"store": None}])
def test_a_body_whose_texts_are_not_texts_is_refused(change: dict[str, Any]) -> None:
    body = json.dumps({**CONTENT, **change}).encode()

    assert "not an event of orderhooks" in refusal(body, signed(body))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    without = {key: value for key, value in signed().items() if key != name}

    assert f"header {name} is missing" in refusal(headers=without)
    assert f"header {name} is missing" in refusal(headers={**without, name: ""})


@pytest.mark.parametrize(
    ("seconds_off", "why"), [(-301, "old. Check this machine"), (301, "future. Check the clocks"), (-(10**9), "old")]
)
def test_a_timestamp_out_of_bounds_is_refused(seconds_off: int, why: str) -> None:
    assert why in refusal(headers=signed(at=NOW + seconds_off))


@pytest.mark.parametrize("seconds_off", [-300, 0, 300])
def test_a_timestamp_within_bounds_is_accepted(seconds_off: int) -> None:
    assert verify(BODY, signed(at=NOW + seconds_off), SECRET, now=NOW)


def test_the_bounds_can_be_set() -> None:
    assert verify(BODY, signed(at=NOW - 900), SECRET, now=NOW, tolerance_seconds=900)
    assert "10 s old" in refusal(headers=signed(at=NOW - 11), tolerance_seconds=10)


@pytest.mark.parametrize(
    "text", ["soon", "-1764000000", "+1764000000", " 1764000000", "1764000000.0", "1_764_000_000", "1e9", "9" * 5000,
             "9" * 13, "١٧٦٤٠٠٠٠٠٠", "²", "nan", "inf", "0x10", "1764000000\n"],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    assert "webhook-timestamp" in refusal(headers={**signed(), "webhook-timestamp": text})


def test_what_is_signed_is_not_divided_in_another_way() -> None:
    # The id with one time, and a body that begins with a time: the same is signed.
    other = signed(f"{NOW}.".encode() + BODY)
    assert other["webhook-signature"] == signed(BODY, webhook_id=f"{ID}.{NOW}")["webhook-signature"]
    assert "has a full stop" in refusal(BODY, {**other, "webhook-id": f"{ID}.{NOW}"})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("text", ["\ud800", "é", "\x00", "v1,\udcff", "x" * 100_000])
def test_nothing_in_a_header_makes_it_crash(name: str, text: str) -> None:
    assert refusal(headers={**signed(), name: text})


@pytest.mark.parametrize(
    "content",
    [
        [],
        "text",
        {},
        {**CONTENT, "sequence": "812"},
        {**CONTENT, "sequence": True},
        {**CONTENT, "data": []},
        {**CONTENT, "type": None},
        {**CONTENT, "timestamp": "2026-11-23T10:00:00"},
        {**CONTENT, "timestamp": "yesterday"},
        {**CONTENT, "timestamp": 1764000000},
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(content: object) -> None:
    body = json.dumps(content).encode()

    assert "not an event of orderhooks" in refusal(body, signed(body))


@pytest.mark.parametrize("attempt", ["", "one", "-1", "²", "9" * 5000])
def test_the_unsigned_attempt_can_do_no_harm(attempt: str) -> None:
    assert verify(BODY, signed(attempt=attempt), SECRET, now=NOW).attempt == 1


@pytest.mark.parametrize("secrets", ["", [], None, "whsec_short", [SECRET, "secret"]])
def test_a_secret_that_can_be_none_is_the_receivers_own_fault(secrets: Any) -> None:
    with pytest.raises(signing.InvalidSecretError) as refused:
        verify(BODY, signed(), secrets, now=NOW)

    assert "whsec_short" not in str(refused.value)


def test_a_body_that_was_decoded_is_a_programmers_mistake() -> None:
    with pytest.raises(TypeError, match="raw body as bytes"):
        verify(BODY.decode(), signed(), SECRET, now=NOW)  # type: ignore[arg-type]
