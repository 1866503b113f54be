"""Posting: one request within its deadline, and an Outcome for whatever happens."""

import base64
import functools
import http.client
import ssl
import time
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf
from orderhooks.transport import connections
from orderhooks.transport.headers import InvalidHeaderError, check_header
from orderhooks.transport.outcomes import NEXT_STEPS, Outcome, next_step
from orderhooks.transport.redaction import REDACTED, Redactor, is_credential
from orderhooks.transport.sockets import Exchange
from orderhooks.transport.text import header_text, safe_text
from orderhooks.transport.urls import UrlRefusedError, check_url

BODY_BYTES = 64 * 1024
KEPT_CHARACTERS = 4 * 1024
KEPT_HEADERS = 64
KEPT_NAME_CHARACTERS = 100
KEPT_HEADER_CHARACTERS = 512
CHUNK_BYTES = 16 * 1024
DETAIL_CHARACTERS = 500


@sensitive_variables()
def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_seconds: float = 15.0,
    redact: Collection[str] = (),
) -> Outcome:
    """POST the body. Never raises for what the URL, the network or the receiver does; needs no database.

    All of it, name look-up to last byte, ends within `timeout_seconds`; at most 64 KiB of the body are read and 4 KiB
    kept. Only open addresses are connected to (ORDERHOOKS["ALLOWED_NETWORKS"]). No redirect is followed; no cookies,
    netrc or proxies of the environment are used. The Outcome holds none of the texts in `redact`, and no cookies,
    authorization or signatures, whatever the receiver echoes.
    """
    started = time.monotonic()
    clean = Redactor([*redact, *_proxy_credentials(conf.current().egress_proxy)])
    try:
        request = _prepare(check_url(url), body, headers)
    except UrlRefusedError as error:
        return _failure("blocked", str(error), started, clean)
    except InvalidHeaderError as error:
        return _failure("internal", str(error), started, clean)
    deadline = started + timeout_seconds
    exchange = Exchange(deadline)
    outcome = _exchange(request, exchange, started, clean)
    if outcome.error == "reset" and exchange.reused and not exchange.answered:
        # The receiver closed a connection that it had kept open just as we used it again: it has seen nothing.
        outcome = _exchange(request, Exchange(deadline), started, clean)
    return outcome


@functools.lru_cache(maxsize=8)
@sensitive_variables()
def _proxy_credentials(proxy: str) -> tuple[str, ...]:
    """What the egress proxy is told of us, which it may echo: `Basic …`, from which the password follows."""
    parts = urlsplit(proxy)
    if parts.username is None and parts.password is None:
        return ()
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    # As urllib3 encodes it, and as it would be in UTF-8.
    forms = [login.encode(encoding, "replace") for encoding in ("latin-1", "utf-8")]
    written = (parts.netloc.rpartition("@")[0], parts.password or "", unquote(parts.password or ""))
    return (*(f"Basic {base64.b64encode(form).decode()}" for form in forms), login, *written)


def _prepare(url: str, body: bytes, headers: Mapping[str, str]) -> requests.PreparedRequest:
    # By hand: what Session.prepare_request does for cookies, auth and encodings costs more than sending.
    for name, value in headers.items():
        check_header(name, value)
    request = requests.PreparedRequest()
    request.method = "POST"
    request.url = url
    request.body = body
    request.headers = framed(headers, body)  # type: ignore[assignment]  # which urllib3 copies, and asks nothing
    return request


def framed(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The headers with those that every request carries besides, but for `host`, which is the URL's."""
    return {**headers, "accept-encoding": "identity", "content-length": str(len(body))}


def _exchange(request: requests.PreparedRequest, exchange: Exchange, started: float, clean: Redactor) -> Outcome:
    connections.running.exchange = exchange
    proxy = conf.current().egress_proxy
    status, answer, body = None, {}, b""
    try:
        raw: Any = connections.adapter().send(
            request,
            stream=True,
            timeout=exchange.seconds_left(),
            proxies={"http": proxy, "https": proxy} if proxy else None,
        )
        try:
            status, answer = raw.status, _headers(raw.headers, clean)
            if exchange.ended:
                # http.client takes the end of the connection for the end of the headers.
                raise exchange.fail("protocol", "The endpoint hung up in the middle of its answer's headers.")
            if status < 200:
                raise exchange.fail("protocol", f"The endpoint answered {status}, which is no final answer.")
            if not 300 <= status < 400:
                body = _read(raw)
        finally:
            # Whatever was not read would be taken for the next answer; a body read to its end has given it back.
            raw.close()
    except Exception as error:
        kind, detail = _explain(exchange, error)
        return _failure(kind, detail, started, clean, status=status, headers=answer)
    finally:
        del connections.running.exchange
    return Outcome(
        status_code=status,
        error="" if 200 <= status < 300 else "status",
        detail=_status_detail(status, _location(answer)),
        duration_ms=_since(started),
        response_headers=answer,
        response_body=clean(safe_text(body), cut=len(body) == BODY_BYTES)[:KEPT_CHARACTERS],
    )


def _headers(headers: Mapping[str, str], clean: Redactor) -> dict[str, str]:
    kept = list(headers.items())[:KEPT_HEADERS]
    names = clean.all([header_text(name) for name, _value in kept])
    values = clean.all([REDACTED if is_credential(name) else header_text(value) for name, value in kept])
    return {
        name[:KEPT_NAME_CHARACTERS]: value[:KEPT_HEADER_CHARACTERS] for name, value in zip(names, values, strict=True)
    }


def _location(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "location"), "")


def _read(raw: urllib3.BaseHTTPResponse) -> bytes:
    parts: list[bytes] = []
    room = BODY_BYTES
    while room and (part := raw.read(min(room, CHUNK_BYTES), decode_content=False)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def _explain(exchange: Exchange, error: Exception) -> tuple[str, str]:
    """The kind and the sentence for what requests or urllib3 raised."""
    if exchange.failure:
        return exchange.failure.kind, exchange.failure.detail
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "tls", f"The endpoint's certificate is not right: {cause.verify_message}."
    if time.monotonic() >= exchange.deadline or any(isinstance(cause, TimeoutError) for cause in causes):
        if not exchange.connected and not exchange.reused:
            return "connect_timeout", "The endpoint did not answer the call in time."
        return "timeout", "The endpoint gave no full answer in time."
    for cause in causes:
        if type(cause) is http.client.HTTPException:
            return "too_large", f"The endpoint's answer has too many headers ({cause})."
        for types, kind, detail in SIGNS:
            if isinstance(cause, types):
                return kind, f"{detail} ({type(cause).__name__}: {cause})"
    return "protocol", f"The endpoint did not speak HTTP as it should ({type(error).__name__}: {error})."


# The innermost cause is looked at first; the first row that fits tells the kind.
SIGNS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((http.client.LineTooLong,), "too_large", "The endpoint's answer has a line without end."),
    ((http.client.RemoteDisconnected,), "reset", "The endpoint closed the connection without an answer."),
    ((ConnectionError,), "reset", "The endpoint broke the connection."),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), "tls", "The endpoint ended the TLS connection."),
    ((ssl.SSLError,), "tls", "The endpoint does not speak TLS as it should."),
    ((http.client.HTTPException,), "protocol", "The endpoint did not speak HTTP as it should."),
)


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and all that it wraps, innermost first: as cause, context, argument or `reason`."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and not any(one is other for other in found):
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found[::-1]


def _status_detail(status: int, location: str) -> str:
    if 200 <= status < 300:
        return f"The endpoint answered {status}."
    return f"The endpoint answered {status}; only 2xx is success. {next_step('status', status, location=location)}"


def _failure(
    kind: str,
    detail: str,
    started: float,
    clean: Redactor,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    return Outcome(
        status_code=status,
        error=kind,
        detail=f"{clean(safe_text(detail))[:DETAIL_CHARACTERS]} {NEXT_STEPS[kind]}",
        duration_ms=_since(started),
        response_headers=headers or {},
    )


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
