"""What must not be stored is not in the outcome, in whatever spelling and wherever a receiver echoes it."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from orderhooks import transport
from orderhooks.transport.posting import BODY_BYTES, KEPT_CHARACTERS, SEARCHED_CHARACTERS
from orderhooks.transport.redaction import REDACTED, Redactor
from tests.receivers import Answer, RecordingReceiver

SECRET = 'Bearer <s3cr3t>/"value"+of é&us=='
PASSWORD = "correct horse & battery"
BASIC = "Basic " + base64.b64encode(f"shop:{PASSWORD}".encode()).decode()
SPELLINGS = {
    "as it is": SECRET,
    "in JSON": json.dumps({"authorization": SECRET}),
    "in JSON that is not ASCII": json.dumps(SECRET, ensure_ascii=False),
    "in PHP's JSON": json.dumps(SECRET).replace("/", "\\/"),
    "in HTML": html.escape(SECRET),
    "in a URL": quote(SECRET, safe=""),
    "in a form": quote_plus(SECRET),
    "without its scheme": SECRET.removeprefix("Bearer ").split()[0],
    "twice": f"{SECRET} and {SECRET}",
}


def echo(receiver: RecordingReceiver, body: bytes, redact: list[str], *headers: tuple[str, str]) -> transport.Outcome:
    receiver.answer = lambda count: Answer(body=body, headers=headers)
    return transport.post(receiver.url, b"{}", {"webhook-id": "evt_1"}, redact=redact)


@pytest.mark.parametrize("echoed", SPELLINGS.values(), ids=SPELLINGS)
def test_an_echo_is_taken_out_in_every_spelling(receiver: RecordingReceiver, echoed: str) -> None:
    outcome = echo(receiver, f"you sent {echoed} to us".encode(), [SECRET])
    assert outcome.response_body.startswith("you sent ")
    assert REDACTED in outcome.response_body
    assert "s3cr3t" not in outcome.response_body
    assert outcome.response_body.endswith(" to us")


def test_an_echo_of_the_bytes_that_were_sent_is_taken_out(receiver: RecordingReceiver) -> None:
    assert "s3cr3t" not in echo(receiver, b"you sent " + SECRET.encode("latin-1"), [SECRET]).response_body


def test_the_password_that_basic_only_encodes_is_taken_out(receiver: RecordingReceiver) -> None:
    outcome = echo(receiver, f"bad password {PASSWORD!r} for shop:{PASSWORD}, {BASIC}".encode(), [BASIC])
    assert "horse" not in outcome.response_body
    assert BASIC.split()[1] not in outcome.response_body


def test_a_signature_is_taken_out_also_without_its_name(receiver: RecordingReceiver) -> None:
    outcome = echo(receiver, b"expected 0123456789abcdef", ["t=1764000000,v1=0123456789abcdef"])
    assert outcome.response_body == f"expected {REDACTED}"


@pytest.mark.parametrize("before", [0, 1, KEPT_CHARACTERS - 5, KEPT_CHARACTERS - len(SECRET) + 1, BODY_BYTES - 9])
def test_no_half_of_a_secret_is_left_where_the_response_is_cut(receiver: RecordingReceiver, before: int) -> None:
    body = b"x" * before + SECRET.encode() * (BODY_BYTES // len(SECRET))
    kept = echo(receiver, body, [SECRET]).response_body
    assert not any(SECRET[:length] in kept for length in range(4, len(SECRET)))


def test_no_half_of_a_long_secret_is_left_where_the_search_stopped(receiver: RecordingReceiver) -> None:
    # Without the whole ones the text is so much shorter that the end of what was searched comes into what is kept.
    long = "".join(f"k{number}" for number in range(1000))
    outcome = echo(receiver, long.encode() * (BODY_BYTES // len(long) + 1), [long])
    assert outcome.response_body == REDACTED * (SEARCHED_CHARACTERS // len(long) + 1)
    assert echo(receiver, b"", [long], ("x-echo", long * 4)).response_headers["x-echo"] == REDACTED
    assert echo(receiver, b"", ["y" * 700], ("x-echo", "x" * 500 + "y" * 700)).response_headers["x-echo"] == (
        "x" * 500 + REDACTED
    )


def test_no_more_is_searched_than_may_be_kept(receiver: RecordingReceiver, monkeypatch) -> None:
    """A quick receiver that fills its responses must not have workers search them for most of their time."""
    searched: list[int] = []
    search = Redactor.__call__

    def counted(self: Redactor, text: str, *, cut: bool = False) -> str:
        searched.append(len(text))
        return search(self, text, cut=cut)

    monkeypatch.setattr(Redactor, "__call__", counted)
    escapes = "\\u0041&amp;%41+" * 8000
    headers = [(f"x-{number}", escapes[:900]) for number in range(60)]
    outcome = echo(receiver, escapes[:BODY_BYTES].encode(), [SECRET], *headers)
    assert (len(outcome.response_body), max(map(len, outcome.response_headers.values()))) == (KEPT_CHARACTERS, 512)
    assert sum(searched) < 40_000


def test_headers_that_are_credentials_are_never_kept_and_others_are_cleaned(receiver: RecordingReceiver) -> None:
    outcome = echo(
        receiver,
        b"",
        ["tok_s3cr3t"],
        ("Set-Cookie", "session=1"),
        ("Authorization", "Basic eA=="),
        ("Webhook-Signature", "v1,abc"),
        ("X-Hub-Signature-256", "sha256=abc"),
        ("X-Echo", "key tok_s3cr3t."),
        ("X-tok_s3cr3t", "in a name"),
        ("X-Plain", "kept"),
    )
    kept = {name.lower(): value for name, value in outcome.response_headers.items()}
    for name in ("set-cookie", "authorization", "webhook-signature", "x-hub-signature-256"):
        assert kept[name] == REDACTED
    assert (kept["x-echo"], kept["x-plain"]) == (f"key {REDACTED}.", "kept")
    assert "s3cr3t" not in str(kept)


def test_the_description_of_a_failure_holds_no_secret() -> None:
    assert "tok_s3cr3t" not in transport.post("ftp://tok_s3cr3t.example/", b"", {}, redact=["tok_s3cr3t"]).detail
    outcome = transport.post("http://127.0.0.1:9999/", b"", {"x-key": "tok_s3cr3t\r\nx: y"}, redact=["tok_s3cr3t"])
    assert outcome.error == "internal"
    assert "x-key" in outcome.detail
    assert "tok_s3cr3t" not in outcome.detail


@pytest.mark.parametrize(("secret", "text"), [("abc", "abc"), ("", "abc"), ("secret-value", "nothing of it")])
def test_texts_too_short_to_be_secrets_and_others_are_left_alone(secret: str, text: str) -> None:
    assert Redactor([secret])(text) == text


CORE = "commoncore"
MANY = [" ".join(f"{CORE}{value:02d}{word:03d}" for word in range(270)) for value in range(20)]
ODD = ['"&<é/+% ' * 512] * 20


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (MANY, CORE * 6553),
        (MANY, f"{CORE}00 " * 5000),
        (ODD, '"&<é/+% ' * 8000),
        (ODD, quote('"&<é/+% ') * 3000),
        (["a" * 4096] * 20, "a" * 65536),
        (["a" * 4096] * 20, "%61" * 21845),
        ([f"{'ab' * 4}{number}" for number in range(20)], "ab" * 32768),
    ],
)
def test_redaction_looks_at_each_character_a_bounded_number_of_times(texts, answer, monkeypatch) -> None:
    """Steps are counted, not seconds: what the interpreter traces in this module."""
    looked = [0]

    class Counted(str):
        __slots__ = ()

        def __getitem__(self, key):
            looked[0] += 1
            return Counted(str.__getitem__(self, key))

        __hash__ = str.__hash__

    redactor = Redactor(texts)
    redactor(Counted(answer), cut=True)
    longest = sum(map(len, texts)) + len(answer)
    assert looked[0] <= 16 * longest


@pytest.mark.parametrize("word", [MANY[0].split()[3], MANY[19].split()[-1]])
def test_each_word_of_a_long_value_is_taken_out(word: str) -> None:
    assert Redactor(MANY)(f"got {word}!") == f"got {REDACTED}!"
    assert Redactor(MANY)(f"got {word[:-1]}!") == f"got {word[:-1]}!"


@pytest.mark.parametrize("spelling", ["&#x{:x};", "&#{};", "%{:02x}", "\\u{:04X}"])
def test_characters_that_need_no_escape_are_read_too(spelling: str) -> None:
    echoed = "".join(spelling.format(ord(character)) for character in "tok_s3cr3t")
    assert Redactor(["tok_s3cr3t"])(f"<{echoed}>") == f"<{REDACTED}>"
