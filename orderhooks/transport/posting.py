"""Posting: send one request, a POST or an OPTIONS, within its deadline, and describe whatever happens as an Outcome."""

import base64
import functools
import http.client
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf
from orderhooks.transport import connections
from orderhooks.transport.certificates import ClientCertificate, InvalidCertificateError
from orderhooks.transport.headers import InvalidHeaderError, check_header
from orderhooks.transport.outcomes import (
    ABORTED,
    NEXT_STEPS,
    Instruction,
    Outcome,
    instruction_of,
    instruction_text,
    next_step,
)
from orderhooks.transport.redaction import REDACTED, Redactor, is_credential
from orderhooks.transport.sockets import Exchange
from orderhooks.transport.text import header_text, safe_text
from orderhooks.transport.urls import UrlRefusedError, check_url

BODY_BYTES = 64 * 1024
KEPT_CHARACTERS = 4 * 1024
# Of a longer response no more is searched for secrets. What is kept becomes shorter where some are taken out.
SEARCHED_CHARACTERS = 5 * 1024
KEPT_HEADERS = 64
KEPT_NAME_CHARACTERS = 100
KEPT_HEADER_CHARACTERS = 512
SEARCHED_HEADER_CHARACTERS = 640
# Of all headers: what web servers accept of a request.
KEPT_CHARACTERS_OF_HEADERS = 8 * 1024
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
    client_certificate: ClientCertificate | None = None,
) -> Outcome:
    """POST the body and return the Outcome. Whatever the URL, the network or the receiver does, it raises nothing.

    Everything from the DNS query to the last byte ends within `timeout_seconds`. At most 64 KiB of the response's body
    are read and 4 KiB kept. Only public addresses and those in ORDERHOOKS["ALLOWED_NETWORKS"] are connected to.
    Redirects are not followed. Cookies, netrc and the environment's proxies are not used. The Outcome holds none of
    the texts in `redact` and no cookies, authorization or signatures, even if the receiver echoes them. The
    `client_certificate` is presented to the endpoint if it asks for one. The database is not used.
    """
    return _send("POST", url, body, headers, timeout_seconds, redact, client_certificate)


@sensitive_variables()
def options(
    url: str,
    headers: Mapping[str, str],
    *,
    timeout_seconds: float = 15.0,
    redact: Collection[str] = (),
    client_certificate: ClientCertificate | None = None,
) -> Outcome:
    """Ask by OPTIONS what an endpoint allows: the headers of the Outcome say it. Bounded and guarded as `post` is."""
    return _send("OPTIONS", url, b"", headers, timeout_seconds, redact, client_certificate)


@sensitive_variables()
def _send(
    method: str,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_seconds: float,
    redact: Collection[str],
    client_certificate: ClientCertificate | None,
) -> Outcome:
    started = time.monotonic()
    redactor = redactor_of(redact)
    deadline = started + timeout_seconds
    got = exchange(
        url,
        body,
        headers,
        method=method,
        deadline=deadline,
        redactor=redactor,
        client_certificate=client_certificate,
    )
    if got.error:
        return Outcome(
            status_code=got.status,
            error=got.error,
            detail=f"{redactor(safe_text(got.detail))[:DETAIL_CHARACTERS]} {NEXT_STEPS[got.error]}",
            duration_ms=_milliseconds_since(started),
            response_headers=got.headers,
        )
    status = got.status or 0
    error = _status_error(method, status, got.headers)
    return Outcome(
        status_code=status,
        error=error,
        detail=_status_detail(status, error, got.headers),
        duration_ms=_milliseconds_since(started),
        response_headers=got.headers,
        response_body=_kept_body(got.body, redactor),
    )


@sensitive_variables()
def _kept_body(body: bytes, redactor: Redactor) -> str:
    text = safe_text(body)
    is_cut = len(body) == BODY_BYTES or len(text) > SEARCHED_CHARACTERS
    return redactor(text[:SEARCHED_CHARACTERS], cut=is_cut)[:KEPT_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange came to: a response, or the kind and the description of the failure.

    `headers` are redacted; `body` is not. `body` has at most BODY_BYTES, and is empty for a redirect.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    error: str = ""
    detail: str = ""


@sensitive_variables()
def redactor_of(redact: Collection[str]) -> Redactor:
    """Removes these texts and the credentials of the egress proxy."""
    return Redactor([*redact, *_proxy_credentials(conf.current().egress_proxy)])


@sensitive_variables()
def exchange(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    deadline: float,
    redactor: Redactor,
    client_certificate: ClientCertificate | None = None,
    method: str = "POST",
) -> Exchanged:
    """Send the body, with all limits that `post` describes, until `deadline` (monotonic seconds). Raises nothing."""
    try:
        request = _prepare(method, check_url(url), body, headers)
        adapter = connections.adapter(client_certificate)
    except UrlRefusedError as error:
        return Exchanged(error="blocked", detail=str(error))
    except InvalidHeaderError as error:
        return Exchanged(error="internal", detail=str(error))
    except InvalidCertificateError as error:
        return Exchanged(error="login", detail=str(error))
    progress = Exchange(deadline)
    got = _exchange(request, adapter, progress, redactor)
    if got.error == "reset" and progress.reused and not progress.response_started:
        # The receiver closed an idle connection just as we used it again, so it did not see the request.
        got = _exchange(request, adapter, Exchange(deadline), redactor)
    return got


@functools.lru_cache(maxsize=8)
@sensitive_variables()
def _proxy_credentials(proxy: str) -> tuple[str, ...]:
    """The egress proxy's credentials in each form that it may echo, such as `Basic …`."""
    parts = urlsplit(proxy)
    if parts.username is None and parts.password is None:
        return ()
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    # urllib3 encodes it in Latin-1; the proxy may read it as UTF-8.
    forms = [login.encode(encoding, "replace") for encoding in ("latin-1", "utf-8")]
    written = (parts.netloc.rpartition("@")[0], parts.password or "", unquote(parts.password or ""))
    return (*(f"Basic {base64.b64encode(form).decode()}" for form in forms), login, *written)


def _prepare(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> requests.PreparedRequest:
    # Not by Session.prepare_request: its work on cookies, auth and encodings takes longer than sending.
    for name, value in headers.items():
        check_header(name, value)
    request = requests.PreparedRequest()
    request.method = method
    request.url = url
    request.body = body
    request.headers = with_framing_headers(headers, body)  # type: ignore[assignment]  # urllib3 copies it
    return request


def with_framing_headers(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The headers with those that every request has, except `host`, which comes from the URL."""
    return {**headers, "accept-encoding": "identity", "content-length": str(len(body))}


def _exchange(
    request: requests.PreparedRequest, adapter: connections.Adapter, exchange: Exchange, redactor: Redactor
) -> Exchanged:
    connections.current.exchange = exchange
    proxy = conf.current().egress_proxy
    status, headers, body = None, {}, b""
    try:
        raw: Any = adapter.send(
            request,
            stream=True,
            timeout=exchange.seconds_left(),
            proxies={"http": proxy, "https": proxy} if proxy else None,
        )
        try:
            status, headers = raw.status, _headers(raw.headers, redactor)
            if exchange.end_received:
                # http.client treats the end of the connection as the end of the headers.
                raise exchange.fail("protocol", "The endpoint closed the connection within the response's headers.")
            if status < 200:
                raise exchange.fail("protocol", f"The endpoint responded with {status}, which is not a final status.")
            if not 300 <= status < 400:
                body = _read_body(raw)
        finally:
            # Closes the connection, unless the body was read to its end: unread data must not become the next response.
            raw.close()
    except Exception as error:
        kind, detail = _classify(exchange, error)
        return Exchanged(status, headers, error=kind, detail=detail)
    finally:
        del connections.current.exchange
    return Exchanged(status, headers, body)


def _headers(headers: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    kept: list[tuple[str, str]] = []
    left = KEPT_CHARACTERS_OF_HEADERS
    for name, value in list(headers.items())[:KEPT_HEADERS]:
        kept.append((name[:SEARCHED_HEADER_CHARACTERS], value[:SEARCHED_HEADER_CHARACTERS]))
        left -= len(name) + min(len(value), SEARCHED_HEADER_CHARACTERS)
        if left <= 0:
            break
    names = _redacted([header_text(name) for name, _value in kept], redactor)
    values = _redacted([REDACTED if is_credential(name) else header_text(value) for name, value in kept], redactor)
    return {
        name[:KEPT_NAME_CHARACTERS]: value[:KEPT_HEADER_CHARACTERS] for name, value in zip(names, values, strict=True)
    }


def _redacted(texts: Sequence[str], redactor: Redactor) -> list[str]:
    """Names or values of headers, which may have been cut."""
    return [
        redactor(text, cut=True) if len(text) >= SEARCHED_HEADER_CHARACTERS else text for text in redactor.all(texts)
    ]


def _location(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "location"), "")


def _read_body(raw: urllib3.BaseHTTPResponse) -> bytes:
    parts: list[bytes] = []
    remaining_bytes = BODY_BYTES
    while remaining_bytes and (part := raw.read(min(remaining_bytes, CHUNK_BYTES), decode_content=False)):
        parts.append(part)
        remaining_bytes -= len(part)
    return b"".join(parts)


def _classify(exchange: Exchange, error: Exception) -> tuple[str, str]:
    """The kind and the description of the error that requests or urllib3 raised."""
    if exchange.failure:
        return exchange.failure.kind, exchange.failure.detail
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "tls", f"The endpoint's certificate is not valid: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError) and (text := REFUSED_LOGINS.get(cause.reason)):
            return "login", text
    if time.monotonic() >= exchange.deadline or any(isinstance(cause, TimeoutError) for cause in causes):
        if not exchange.connected and not exchange.reused:
            return "connect_timeout", "The endpoint did not accept a connection in time."
        return "timeout", "The endpoint did not send a complete response in time."
    for cause in causes:
        if type(cause) is http.client.HTTPException:
            return "too_large", f"The endpoint's response has too many headers ({cause})."
        for types, kind, detail in SIGNS:
            if isinstance(cause, types):
                return kind, f"{detail} ({_named(cause)})"
    return "protocol", f"The endpoint did not send a valid HTTP response ({_named(error)})."


# The alerts with which a server refuses a client certificate, or demands one (RFC 8446, 6.2).
REFUSED_LOGINS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "The endpoint demands a client certificate.",
    "SSLV3_ALERT_BAD_CERTIFICATE": "The endpoint refuses the client certificate.",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "The endpoint does not support this kind of client certificate.",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "The endpoint says that the client certificate was revoked.",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "The endpoint says that the client certificate has expired.",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "The endpoint refuses the client certificate.",
    "TLSV1_ALERT_UNKNOWN_CA": "The endpoint does not trust the issuer of the client certificate.",
    "TLSV1_ALERT_ACCESS_DENIED": "The endpoint denies access with this client certificate.",
}


def _named(error: BaseException) -> str:
    """The error, without what it quotes of the response, which not everybody may see."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, OSError) else name


# The alert that says so may be lost with the connection.
ENDED_TLS = "The endpoint ended the TLS connection. It may demand a client certificate that it trusts."
# Causes are compared from the innermost outwards; the first row that fits gives the kind.
SIGNS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((http.client.LineTooLong,), "too_large", "The endpoint's response has a line that is too long."),
    ((http.client.RemoteDisconnected,), "reset", "The endpoint closed the connection without a response."),
    ((ConnectionError,), "reset", "The endpoint broke the connection."),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), "tls", ENDED_TLS),
    ((ssl.SSLError,), "tls", "The endpoint does not follow the TLS protocol."),
    ((http.client.HTTPException,), "protocol", "The endpoint did not send a valid HTTP response."),
)


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and all that it wraps as cause, context, argument or `reason`, the innermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and not any(one is other for other in found):
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found[::-1]


def _status_error(method: str, status: int, headers: Mapping[str, str]) -> str:
    """The kind of failure of a complete response; "" for 2xx. A response to OPTIONS decides about no delivery."""
    if 200 <= status < 300:
        return ""
    return ABORTED if method == "POST" and instruction_of(headers) is Instruction.ABORT else "status"


def _status_detail(status: int, error: str, headers: Mapping[str, str]) -> str:
    success = "" if 200 <= status < 300 else "; only 2xx is success"
    step = next_step(error, status, location=_location(headers)) if error else ""
    parts = [f"The endpoint responded with {status}{success}.", instruction_text(headers), step]
    return " ".join(part for part in parts if part)


def _milliseconds_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
