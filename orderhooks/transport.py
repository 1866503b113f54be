"""The transport: one POST, and what came of it as an Outcome. The only module that knows requests and urllib3."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from requests.adapters import HTTPAdapter

__all__ = ["Outcome", "post"]

READ_BYTES = 64 * 1024
KEPT_BYTES = 4 * 1024
CHUNK_BYTES = 8 * 1024
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. `error` is "" for a 2xx answer, else a kind; `detail` says it in plain words."""

    status_code: int | None = None
    error: str = ""
    detail: str = ""
    duration_ms: int = 0
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_body: str = ""

    @property
    def succeeded(self) -> bool:
        return self.error == ""

    @property
    def endpoint_is_to_blame(self) -> bool:
        """Whether the endpoint failed, not we."""
        return self.error not in ("", "internal", "payload")

    @property
    def retry_after(self) -> str:
        return next((value for name, value in self.response_headers.items() if name.lower() == "retry-after"), "")


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float = 15.0) -> Outcome:
    """POST the body; never raises for what the network or the receiver does. Follows no redirect, uses no proxy of the
    environment, reads at most 64 KiB of the answer and keeps 4 KiB of it.
    """
    started = time.monotonic()
    try:
        with _session().post(
            url,
            data=body,
            headers={"accept-encoding": "identity", **headers},
            timeout=timeout_seconds,
            allow_redirects=False,
            stream=True,
        ) as response:
            text = safe_text(_read(response, until=started + timeout_seconds))
            answer = {safe_text(name): safe_text(value) for name, value in response.headers.items()}
            status = response.status_code
    except requests.ConnectTimeout:
        return _failure("connect_timeout", "The endpoint's machine did not answer the call in time.", started)
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError):
        return _failure("timeout", f"The endpoint gave no full answer within {timeout_seconds:g} s.", started)
    except requests.exceptions.SSLError as error:
        return _failure("tls", f"The endpoint's certificate or TLS is not right: {error}", started)
    except requests.ConnectionError as error:
        refused = "refused" in str(error).lower()
        return _failure(
            "refused" if refused else "reset",
            "Nothing listens at the endpoint's address." if refused else f"The connection broke: {error}",
            started,
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        return _failure("protocol", f"The endpoint did not speak HTTP as it should: {error}", started)
    good = 200 <= status < 300
    return Outcome(
        status_code=status,
        error="" if good else "status",
        detail=f"The endpoint answered {status}." if good else f"The endpoint answered {status}; only 2xx is success.",
        duration_ms=_since(started),
        response_headers=answer,
        response_body=text,
    )


def safe_text(value: bytes | str) -> str:
    """Text that every database takes: invalid UTF-8 and NUL become U+FFFD."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return raw.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _read(response: requests.Response, *, until: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < READ_BYTES and (part := response.raw.read(CHUNK_BYTES)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError
    return b"".join(parts)[:KEPT_BYTES]


def _failure(kind: str, detail: str, started: float) -> Outcome:
    return Outcome(error=kind, detail=safe_text(detail)[:500], duration_ms=_since(started))


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


_sessions: dict[int, requests.Session] = {}


def _session() -> requests.Session:
    # One for each process: a connection that was open before a fork must not be used on both sides of it.
    pid = os.getpid()
    if pid not in _sessions:
        _sessions.clear()
        session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
        _sessions[pid] = session
    return _sessions[pid]
