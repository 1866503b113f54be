"""Access tokens: ask an authorization server for one, with the client credentials of a subscription.

Source: RFC 6749, 4.4 (client credentials), 2.3.1 (how the client authenticates), 5 (responses); RFC 8707 (`resource`).
"""

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django.views.decorators.debug import sensitive_variables

from orderhooks.transport.outcomes import NEXT_STEPS
from orderhooks.transport.posting import BODY_BYTES, Exchanged, exchange, redactor_of
from orderhooks.transport.text import safe_text

__all__ = ["ClientCredentials", "GrantedToken", "LoginError", "request_token"]

# A token becomes a header, and headers of more than 16 KiB are refused nearly everywhere.
LONGEST_TOKEN = 16 * 1024
# RFC 6749, A.12: visible characters. No space, which would end the credentials of a header.
TOKEN = re.compile(r"[\x21-\x7e]+")
# How long a token is used if the server does not say how long it lives.
DEFAULT_LIFETIME_SECONDS = 300.0
LONGEST_LIFETIME_SECONDS = 24 * 3600.0
DETAIL_CHARACTERS = 200
MOST_DETAIL_CHARACTERS = 400


class LoginError(Exception):
    """A request can't be logged in. The message says why and what to do.

    `retry_after`: the value of the authorization server's Retry-After header, or "".
    """

    def __init__(self, text: str, *, retry_after: str = "") -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An OAuth2 client of one authorization server. `in_body`: it authenticates in the body (client_secret_post)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    audience: str = ""
    resource: str = ""
    in_body: bool = False


@dataclass(frozen=True, slots=True)
class GrantedToken:
    """An access token, and how many seconds it may be used."""

    text: str = field(repr=False)
    seconds: float


@sensitive_variables()
def request_token(client: ClientCredentials, *, timeout_seconds: float) -> GrantedToken:
    """Ask for an access token, under the limits and the address guard of `post`. One request; no redirects.

    Raises:
        LoginError: the server is away, slow, refuses the client, or sends something else.
    """
    form = {"grant_type": "client_credentials", "scope": client.scope, "audience": client.audience}
    form["resource"] = client.resource
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    # Both are form-encoded first: RFC 6749, 2.3.1. A space as %20, because some servers do not decode +.
    secret = quote(client.client_secret, safe="")
    login = f"{quote(client.client_id, safe='')}:{secret}"
    basic = base64.b64encode(login.encode()).decode()
    if client.in_body:
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
    else:
        headers["authorization"] = f"Basic {basic}"
    body = urlencode({name: value for name, value in form.items() if value}).encode()
    redactor = redactor_of([client.client_secret, secret, f"Basic {basic}"])
    got = exchange(client.token_url, body, headers, deadline=time.monotonic() + timeout_seconds, redactor=redactor)
    try:
        return _token(got)
    except _RefusedError as error:
        server = urlsplit(client.token_url).hostname or "?"
        text = redactor(safe_text(str(error)))[:MOST_DETAIL_CHARACTERS]
        retry_after = next((value for name, value in got.headers.items() if name.lower() == "retry-after"), "")
        raise LoginError(f"No access token from {server}: {text} {error.remedy}", retry_after=retry_after) from None


class _RefusedError(Exception):
    def __init__(self, text: str, remedy: str = NEXT_STEPS["login"]) -> None:
        super().__init__(text)
        self.remedy = remedy


# What an operator can do about the errors of RFC 6749, 5.2.
REMEDIES = {
    "invalid_client": "Check the client's id and secret, and how the client authenticates (header or body).",
    "unauthorized_client": "Have the authorization server allow this client the grant client_credentials.",
    "unsupported_grant_type": "The authorization server has to support the grant client_credentials.",
    "invalid_scope": "Check the scope.",
    "invalid_target": "Check the resource and the audience.",
    "invalid_request": "Check the client's settings: some servers need a scope, an audience or a resource.",
}
# As those of the RFC and its extensions are.
ERROR_CODE = re.compile(r"[a-z][a-z_]{2,39}")
SERVER_STEP = "Ask the people who run the authorization server. It is tried again automatically."


@sensitive_variables()
def _token(got: Exchanged) -> GrantedToken:
    if got.error == "blocked":
        raise _RefusedError(got.detail, NEXT_STEPS["blocked"])
    if got.error or got.status is None:
        raise _RefusedError(got.detail.replace("The endpoint", "The authorization server"), SERVER_STEP)
    if 300 <= got.status < 400:
        raise _RefusedError(
            f"It responded with {got.status}, and redirects are not followed.", "Correct the token URL."
        )
    content = _content(got.body)
    if got.status != 200:
        _refuse(got.status, content)
    token, kind = content.get("access_token"), content.get("token_type", "bearer")
    if len(got.body) == BODY_BYTES or not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise _RefusedError("Its response is not a valid token response (RFC 6749, 5.1).", "Check the token URL.")
    if len(token) > LONGEST_TOKEN:
        raise _RefusedError(f"Its token is longer than {LONGEST_TOKEN} characters.", SERVER_STEP)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _RefusedError("Its token is not of the type Bearer, the only one that is supported.", SERVER_STEP)
    return GrantedToken(token, _lifetime(content.get("expires_in")))


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse(status: int, content: Mapping[str, Any]) -> None:
    # Nothing else of its response: a description may quote a token or the client's secret.
    error = content.get("error")
    known = f": {error}" if isinstance(error, str) and ERROR_CODE.fullmatch(error) else ""
    text = f"It responded with {status}{known}."
    if status == 429 or status >= 500:
        raise _RefusedError(text, SERVER_STEP)
    remedy = REMEDIES.get(error) if isinstance(error, str) else None
    raise _RefusedError(text, remedy or (REMEDIES["invalid_client"] if status == 401 else NEXT_STEPS["login"]))


def _lifetime(seconds: object) -> float:
    """`expires_in` as seconds. Some servers send it as text; without a valid one, DEFAULT_LIFETIME_SECONDS."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return DEFAULT_LIFETIME_SECONDS
    try:
        lifetime = float(seconds)
    except (ValueError, OverflowError):
        return DEFAULT_LIFETIME_SECONDS
    return min(lifetime, LONGEST_LIFETIME_SECONDS) if lifetime > 0 else DEFAULT_LIFETIME_SECONDS
