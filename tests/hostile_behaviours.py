"""The table of test_hostile: what a receiver that means harm does, with what must come of a request to it."""

import gzip
import zlib
from dataclasses import dataclass

from tests.hostile_acts import (
    CHUNKED,
    OK,
    OK_CLOSE,
    Act,
    abort,
    answer,
    drip,
    flood,
    half_close,
    hold,
    keep_then,
    refuse_to_read,
    reset,
    say,
    two_answers,
)


@dataclass(frozen=True)
class Behaviour:
    """What a receiver does, and what must come of it: kinds ("" is success), the status, and whether it ends soon.

    `tls`: the certificate of tests.certificates; blank is plain HTTP; "raw" is https to a server that speaks no TLS.
    `posts`: how often it is posted to in turn, all with the same outcome. `connects`: how many connections it may see.
    """

    name: str
    act: Act
    kinds: tuple[str, ...]
    status: int | None = None
    soon: bool = True
    tls: str = ""
    posts: int = 1
    connects: int = 1


STATUS = ("status",)
PROTOCOL = ("protocol",)
TEXTS = {
    "NUL": b"a\x00b",
    "invalid UTF-8": b"\xff\xfe\xfa caf\xe9",
    "lone surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "terminal escapes": b"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b0m",
    "markup": b"<script>alert(1)</script>{{ 7 * 7 }}",
    "a spreadsheet's formula": b'=cmd|"/c calc"!A1',
    "text that is turned round": "\u202egnp.exe\u2066".encode(),
    "line breaks for a log": b"\r\nERROR fake line\r\n\x0b\x0c\x85",
    "a million accents": b"e" + "\u0301".encode() * 30_000,
}

BEHAVIOURS = (
    # Silence and drips
    Behaviour("says nothing", hold(), ("timeout",), soon=False),
    Behaviour("reads nothing", refuse_to_read, ("timeout",), soon=False),
    Behaviour("says nothing after the status line", hold(OK), ("timeout",), soon=False),
    Behaviour("says nothing in the headers", hold(OK + b"X-A: b"), ("timeout",), soon=False),
    Behaviour("says nothing in the body", hold(OK + b"Content-Length: 9\r\n\r\nx"), ("timeout",), 200, soon=False),
    Behaviour("says nothing in a chunk", hold(CHUNKED + b"9\r\nx"), ("timeout",), 200, soon=False),
    Behaviour("drips a status line", drip(b"", b"H"), ("timeout", "protocol"), soon=False),
    Behaviour("drips a reason", drip(b"HTTP/1.1 200 ", b"O"), ("timeout",), soon=False),
    Behaviour("drips a header", drip(OK + b"X-A: ", b"b"), ("timeout",), soon=False),
    Behaviour("drips headers", drip(OK, b"X-A: b\r\n"), ("timeout", "too_large", "protocol"), soon=False),
    Behaviour("drips a body", drip(OK + b"Content-Length: 99999\r\n\r\n", b"x"), ("timeout",), 200, soon=False),
    Behaviour("drips a body without end", drip(OK_CLOSE + b"\r\n", b"x"), ("timeout",), 200, soon=False),
    Behaviour("drips chunks", drip(CHUNKED, b"1\r\nx\r\n"), ("timeout",), 200, soon=False),
    Behaviour("drips a chunk's size", drip(CHUNKED, b"0"), ("timeout",), 200, soon=False),
    Behaviour("drips a chunk's extension", drip(CHUNKED + b"1;", b"x"), ("timeout",), 200, soon=False),
    Behaviour("drips trailers", drip(CHUNKED + b"0\r\n", b"X-A: b\r\n"), ("timeout",), 200, soon=False),
    Behaviour("drips 100 Continue", drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ("timeout", "protocol"), soon=False),
    Behaviour("drips over TLS", drip(OK + b"X-A: ", b"b"), ("timeout",), soon=False, tls="good"),
    Behaviour("is silent over TLS", hold(), ("timeout",), soon=False, tls="good"),
    # Broken connections
    Behaviour("resets after the call", reset(read=False), ("reset", "refused")),
    Behaviour("resets after the request", reset(), ("reset",)),
    Behaviour("resets in the status line", reset(b"HTTP/1.1 2"), ("reset", "protocol")),
    Behaviour("resets in the headers", reset(OK + b"X-A: b"), ("reset", "protocol")),
    Behaviour("resets in the body", reset(OK + b"Content-Length: 9\r\n\r\nx"), ("reset", "protocol"), 200),
    Behaviour("resets in a chunk", reset(CHUNKED + b"9\r\nx"), ("reset", "protocol"), 200),
    # In the body: CPython 3.13 tells of a reset among the headers as such, CPython 3.11 as their end.
    Behaviour(
        "resets over TLS", reset(OK + b"Content-Length: 9\r\n\r\nx"), ("reset", "protocol", "tls"), 200, tls="good"
    ),
    Behaviour("hangs up without an answer", say(), ("reset",)),
    Behaviour("hangs up in the status line", say(b"HTTP/1.1 2"), PROTOCOL),
    Behaviour("hangs up in the headers", say(OK + b"X-A: b"), PROTOCOL, 200),
    Behaviour("hangs up in the body", say(OK + b"Content-Length: 9\r\n\r\nx"), PROTOCOL, 200),
    Behaviour("hangs up in a chunk", say(CHUNKED + b"9\r\nx"), PROTOCOL, 200),
    Behaviour("hangs up before the last chunk", say(CHUNKED + b"1\r\nx\r\n"), PROTOCOL, 200),
    Behaviour("closes half without an answer", half_close(), ("reset",)),
    Behaviour("closes half in the body", half_close(OK + b"Content-Length: 9\r\n\r\nx"), PROTOCOL, 200),
    Behaviour("closes half after its answer", half_close(OK + b"Content-Length: 1\r\n\r\nx"), ("",), 200),
    # Kept connections
    Behaviour("breaks a kept connection before it answers", keep_then(then=abort), ("",), 200, posts=3, connects=3),
    Behaviour(
        "hangs up on a kept connection",
        keep_then(then=lambda writer: writer.close()),
        ("",),
        200,
        posts=3,
        connects=3,
    ),
    Behaviour(
        "closes what it said it would keep", say(OK + b"Content-Length: 0\r\n\r\n"), ("",), 200, posts=3, connects=3
    ),
    Behaviour("sends two answers for one request", two_answers, STATUS, 503, posts=3, connects=3),
    # Without end
    Behaviour("floods the status line", flood(b"HTTP/1.1 200 ", b"O"), ("too_large",)),
    Behaviour("floods one header", flood(OK + b"X-A: ", b"b"), ("too_large",)),
    Behaviour("floods headers", flood(OK, b"X-A: b\r\n"), ("too_large",)),
    Behaviour("floods the body", flood(OK_CLOSE + b"\r\n", b"x"), ("",), 200),
    Behaviour("floods a body of a refusal", flood(b"HTTP/1.1 500 No\r\n\r\n", b"x"), STATUS, 500),
    Behaviour("floods a body with a length", flood(OK + b"Content-Length: 999999999999\r\n\r\n", b"x"), ("",), 200),
    Behaviour("floods small chunks", flood(CHUNKED, b"1\r\nx\r\n"), ("", "too_large"), 200),
    Behaviour("floods one chunk", flood(CHUNKED + b"fffffff\r\n", b"x"), ("",), 200),
    Behaviour("floods a chunk's size", flood(CHUNKED, b"0"), ("too_large", "protocol"), 200),
    Behaviour("floods a chunk's extension", flood(CHUNKED + b"1;", b"x"), ("too_large", "protocol"), 200),
    Behaviour("floods trailers", flood(CHUNKED + b"0\r\n", b"X-A: b\r\n"), ("too_large", "protocol"), 200),
    Behaviour("floods over TLS", flood(OK, b"X-A: b\r\n"), ("too_large",), tls="good"),
    Behaviour("floods 100 Continue", flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ("too_large", "protocol")),
    Behaviour(
        "floods 103 Early Hints", flood(b"", b"HTTP/1.1 103 Hints\r\nLink: <x>\r\n\r\n"), ("too_large", "protocol"), 103
    ),
    Behaviour(
        "sends a gzip bomb",
        say(OK_CLOSE + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"\0" * 50_000_000)),
        ("",),
        200,
    ),
    Behaviour(
        "sends a deflate bomb in chunks",
        flood(
            CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: deflate\r\n\r\n"),
            b"400\r\n" + zlib.compress(b"\0" * 900_000)[:1024].ljust(1024, b"\0") + b"\r\n",
        ),
        ("", "too_large"),
        200,
    ),
    # Interim answers
    Behaviour(
        "continues once", say(b"HTTP/1.1 100 Continue\r\n\r\n", OK_CLOSE + b"Content-Length: 0\r\n\r\n"), ("",), 200
    ),
    Behaviour(
        "hints once",
        say(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK_CLOSE + b"Content-Length: 0\r\n\r\n"),
        PROTOCOL,
        103,
    ),
    Behaviour("switches protocols", answer("101 Switching Protocols", "Upgrade: websocket"), PROTOCOL, 101),
    # Framing lies
    Behaviour("promises more than it sends", say(OK_CLOSE + b"Content-Length: 9\r\n\r\nx"), PROTOCOL, 200),
    Behaviour(
        "sends more than it promised", hold(OK + b"Content-Length: 1\r\n\r\nxyz"), ("",), 200, posts=2, connects=2
    ),
    Behaviour("promises less than nothing", say(OK_CLOSE + b"Content-Length: -1\r\n\r\nx"), ("", "protocol"), 200),
    Behaviour("promises no number", say(OK_CLOSE + b"Content-Length: many\r\n\r\nx"), ("", "protocol"), 200),
    Behaviour("promises two lengths", say(OK_CLOSE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"), PROTOCOL),
    Behaviour(
        "promises a length and chunks",
        say(OK_CLOSE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        ("", "protocol"),
        200,
    ),
    Behaviour("sends a chunk without a size", say(CHUNKED + b"zz\r\nx\r\n"), PROTOCOL, 200),
    Behaviour("sends a chunk of less than nothing", say(CHUNKED + b"-1\r\nx\r\n"), PROTOCOL, 200),
    Behaviour("sends a header without a colon", say(OK_CLOSE + b"nonsense\r\nContent-Length: 0\r\n\r\n"), ("",), 200),
    Behaviour("folds a header", answer("200 OK", "X-A: b\r\n c"), ("",), 200),
    Behaviour("sends a bare line feed everywhere", say(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), ("",), 200),
    # Other protocols
    Behaviour("echoes the body as a status line", say(b"ECHOED ada@example.com\r\n\r\n"), PROTOCOL),
    Behaviour("echoes the body as a chunk's size", say(CHUNKED + b"ECHOED\r\n"), PROTOCOL, 200),
    Behaviour("speaks HTTP/0.9", say(b"<html>hello</html>"), PROTOCOL),
    Behaviour("speaks HTTP/2", say(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"), PROTOCOL),
    Behaviour("speaks HTTP/3.7", say(b"HTTP/3.7 200 OK\r\n\r\n"), PROTOCOL),
    Behaviour("speaks SSH", say(b"SSH-2.0-OpenSSH_9.2\r\n"), PROTOCOL),
    Behaviour("speaks SMTP", say(b"220 mail.example ESMTP\r\n"), PROTOCOL),
    Behaviour("speaks Redis", say(b"-ERR wrong number of arguments\r\n"), PROTOCOL),
    Behaviour("speaks MySQL", say(b"\x4a\x00\x00\x00\x0a8.0.36\x00"), PROTOCOL),
    Behaviour("speaks nothing known", say(bytes(range(256)) * 8), PROTOCOL),
    # Statuses
    Behaviour("answers 299", answer("299 Fine"), ("",), 299),
    Behaviour("answers 600", answer("600 Odd"), STATUS, 600),
    Behaviour("answers 999", answer("999 Denied"), STATUS, 999),
    Behaviour("answers 000", answer("000 Nil"), PROTOCOL),
    Behaviour("answers 1000", answer("1000 Many"), PROTOCOL),
    Behaviour("answers in words", answer("okay fine"), PROTOCOL),
    Behaviour("answers less than nothing", answer("-200 OK"), PROTOCOL),
    Behaviour("answers without a reason", say(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), ("",), 200),
    Behaviour("answers with a long reason", answer("200 " + "x" * 60_000), ("",), 200),
    # Redirects
    *(
        Behaviour(f"redirects by {status}", answer(f"{status} Go", "Location: http://127.0.0.1:1/"), STATUS, status)
        for status in (300, 301, 302, 303, 304, 305, 306, 307, 308)
    ),
    Behaviour("redirects to nowhere", answer("302 Go"), STATUS, 302),
    Behaviour("redirects to nonsense", answer("302 Go", "Location: http://[::1\xff"), STATUS, 302),
    Behaviour("redirects with an endless body", flood(b"HTTP/1.1 302 Go\r\nLocation: /\r\n\r\n", b"x"), STATUS, 302),
    Behaviour("redirects with a body that drips", drip(b"HTTP/1.1 302 Go\r\nLocation: /\r\n\r\n", b"x"), STATUS, 302),
    # Retry-After
    *(
        Behaviour(f"asks to come back after {value!r:.40}", answer("503 No", f"Retry-After: {value}"), STATUS, 503)
        for value in (
            "7",
            "-7",
            "0",
            "7.5",
            "9" * 400,
            "soon",
            "",
            "\xb2",
            "Fri, 31 Dec 2038 23:59:59 GMT",
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "Fri, 31 Dec 99999999999 23:59:59 GMT",
            "Mon, 00 Foo 0000 00:00:00 +9999",
        )
    ),
    Behaviour("asks to come back twice", answer("429 No", "Retry-After: 7", "Retry-After: soon"), STATUS, 429),
    # TLS
    Behaviour("answers over TLS", answer("200 OK"), ("",), 200, tls="good"),
    *(
        Behaviour(f"has a certificate that is {kind}", answer("200 OK"), ("tls",), tls=kind)
        for kind in ("expired", "early", "wrong_host", "self_signed", "unknown_authority")
    ),
    Behaviour("speaks no TLS where it should", hold(b"HTTP/1.1 400 Bad\r\n\r\n", read=False), ("tls",), tls="raw"),
    Behaviour(
        "says nothing to a handshake", hold(read=False), ("timeout", "connect_timeout", "tls"), soon=False, tls="raw"
    ),
    Behaviour(
        "drips a handshake",
        drip(b"\x16\x03\x03\x40\x00", b"\x02", read=False),
        ("timeout", "connect_timeout", "tls"),
        soon=False,
        tls="raw",
    ),
    Behaviour("resets in the handshake", reset(b"\x16\x03\x03\x00\x7a", read=False), ("reset", "tls"), tls="raw"),
    Behaviour("hangs up in the handshake", reset(read=False), ("reset", "refused", "tls"), tls="raw"),
    Behaviour("sends an alert", hold(b"\x15\x03\x03\x00\x02\x02\x28", read=False), ("tls",), tls="raw"),
    Behaviour(
        "ends TLS without saying so",
        say(OK + b"Content-Length: 9\r\n\r\nx"),
        ("protocol", "tls", "reset"),
        200,
        tls="good",
    ),
    # Text
    *(Behaviour(f"says {name}", answer("400 Bad", body=text), STATUS, 400) for name, text in TEXTS.items()),
    *(
        Behaviour(
            f"says {name} in a header",
            say(b"HTTP/1.1 400 Bad\r\nConnection: close\r\nX-Said: " + text.replace(b"\r\n", b"")[:9000] + b"\r\n\r\n"),
            STATUS,
            400,
        )
        for name, text in TEXTS.items()
    ),
    *(
        Behaviour(
            f"says {name} as its reason",
            say(b"HTTP/1.1 400 " + text.replace(b"\r\n", b"")[:9000] + b"\r\n\r\n"),
            STATUS,
            400,
        )
        for name, text in TEXTS.items()
    ),
    *(
        Behaviour(f"says {name} in place of a status line", say(text), ("protocol",))
        for name, text in TEXTS.items()
        if len(text) < 100
    ),
    Behaviour(
        "names a charset that is none",
        answer("400 Bad", "Content-Type: text/plain; charset=bogus\xff", body=b"\xe9"),
        STATUS,
        400,
    ),
    Behaviour("has ninety headers", answer("200 OK", *(f"X-{n}: {n}" for n in range(90))), ("",), 200),
    Behaviour("has a thousand headers", answer("200 OK", *(f"X-{n}: {n}" for n in range(1000))), ("too_large",)),
    Behaviour("has a name like a dictionary's method", answer("200 OK", "__class__: x", "items: y"), ("",), 200),
)
