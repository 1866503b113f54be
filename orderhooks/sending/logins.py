"""Logins: the `Authorization` and the client certificate of a subscription's requests, for `pool`.

An access token is shared by all workers, asked for once, and renewed once after a 401: see Note [One request for a
token] in `models.access_tokens`.
"""

import base64
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from weakref import WeakValueDictionary

from django.views.decorators.debug import sensitive_variables

from orderhooks import retries, transport
from orderhooks.db.sealed_logins import BASIC, NONE, OAUTH2
from orderhooks.models import AccessToken, Subscription
from orderhooks.sending.main_thread import Call
from orderhooks.transport import LoginError

__all__ = ["Login", "client_certificate", "is_awaited", "needs_token"]

# How long one request for a token may take, within the attempt's own time.
TOKEN_SECONDS = 10.0
# Beyond that, until another process may ask.
LEASE_MARGIN_SECONDS = 5.0
# How long a failure is remembered, so that waiting deliveries do not all make the same request.
FAILURE_SECONDS = 15.0
LONGEST_FAILURE_SECONDS = 3600.0
# An endpoint that refuses a fresh token does not get a fresher one at once.
RENEW_EVERY = timedelta(seconds=60)
POLL_SECONDS = 0.05
# With less time left an attempt does not ask for a token.
LEAST_SECONDS = 0.5
AWAY = "No access token arrived in time. It is tried again automatically."


@sensitive_variables()
def client_certificate(subscription: Subscription, *, now: datetime) -> transport.ClientCertificate | None:
    """The certificate that its requests present; None without one. Raises LoginError if it is not valid now."""
    facts = subscription.certificate_facts
    if facts is None:
        return None
    if facts.not_after <= now:
        raise LoginError(
            f"The client certificate expired at {facts.not_after:%Y-%m-%d %H:%M %Z}. Give the subscription a new one."
        )
    if facts.not_before > now:
        raise LoginError(
            f"The client certificate is valid only from {facts.not_before:%Y-%m-%d %H:%M %Z}. Wait, or give the"
            " subscription another one."
        )
    return subscription.presented_certificate()


@sensitive_variables()
def needs_token(subscription: Subscription, *, now: datetime) -> bool:
    """Whether its next attempt would ask for an access token. Its `known_token` was attached before."""
    if subscription.login_type != OAUTH2:
        return False
    row, digest = _known(subscription), subscription.login_digest()
    return row is None or not (row.failure_now(login=digest, now=now) or row.is_usable(login=digest, now=now))


def is_awaited(subscription: Subscription, *, now: datetime) -> bool:
    """Whether a process is asking for its access token."""
    row = _known(subscription)
    return row is not None and row.is_leased(now=now)


def _known(subscription: Subscription) -> AccessToken | None:
    return getattr(subscription, "known_token", None)


@dataclass(slots=True)
class Login:
    """How one attempt logs in. `now` is the time at `started` (monotonic seconds); it ends at `deadline`.

    `call` runs what uses the database. If `patient`, a failure that is remembered is not tried again.
    """

    subscription: Subscription
    now: datetime
    deadline: float
    call: Call
    patient: bool = True
    started: float = 0.0
    # Whether another authorization may succeed where one was refused.
    can_renew: bool = False

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.can_renew = self.subscription.login_type == OAUTH2

    @sensitive_variables()
    def authorization(self) -> str:
        """The value of the header `Authorization`, or "" if the subscription has no such login.

        Raises:
            LoginError: there is no access token.
            encryption.UndecryptableError: a key is missing.
        """
        subscription = self.subscription
        if subscription.login_type == NONE:
            return ""
        if subscription.login_type == BASIC:
            login = ":".join(subscription.basic_login())
            return f"Basic {base64.b64encode(login.encode()).decode()}"
        known = _known(subscription)
        token = known.text(login=subscription.login_digest(), now=self._now()) if known else ""
        return f"Bearer {token or self._token()}"

    @sensitive_variables()
    def renewed(self, refused: str) -> str:
        """Another value than the `refused` one, or "" if a token was renewed for that reason a short time ago.

        Raises LoginError if there is no other token.
        """
        token = self._token(refused=refused.removeprefix("Bearer "))
        return f"Bearer {token}" if token else ""

    def _now(self) -> datetime:
        return self.now + timedelta(seconds=time.monotonic() - self.started)

    def _seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    @sensitive_variables()
    def _token(self, refused: str = "") -> str:
        digest = self.subscription.login_digest()
        with _turn_of(self.subscription.pk, seconds=self._seconds_left()):
            while True:
                row = self.call(lambda: AccessToken.objects.of(self.subscription))
                token = row.text(login=digest, now=self._now())
                if token and token != refused:
                    self.subscription.known_token = row  # type: ignore[attr-defined]
                    return token
                if self.patient and (failure := row.failure_now(login=digest, now=self._now())):
                    raise LoginError(failure, retry_after=self._retry_after(row))
                if token and self._was_renewed_lately(row):
                    return ""
                if self._seconds_left() < LEAST_SECONDS:
                    raise LoginError(AWAY)
                if row.is_leased(now=self._now()):
                    time.sleep(POLL_SECONDS)
                    continue
                seconds = min(TOKEN_SECONDS, self._seconds_left())
                lease_seconds = seconds + LEASE_MARGIN_SECONDS
                lease = self.call(partial(AccessToken.objects.claim, row, now=self._now(), lease_seconds=lease_seconds))
                if lease is not None:
                    return self._ask(lease, digest, seconds, after_refusal=bool(token))

    @sensitive_variables()
    def _ask(self, lease: uuid.UUID, digest: str, seconds: float, *, after_refusal: bool) -> str:
        """Ask the authorization server, and store what came of it. No transaction is open meanwhile."""
        tokens = AccessToken.objects
        try:
            granted = transport.request_token(self.subscription.oauth2_client(), timeout_seconds=seconds)
        except LoginError as error:
            failure, wait = str(error), self._wait_seconds(error)
        except BaseException:
            # Not the server's fault: the next one may ask at once.
            self.call(lambda: tokens.release(lease))
            raise
        else:
            now = self._now()
            self.call(
                lambda: tokens.grant(
                    lease, granted.text, login=digest, seconds=granted.seconds, now=now, after_refusal=after_refusal
                )
            )
            self.subscription.known_token = None  # type: ignore[attr-defined]
            return granted.text
        until = self._now() + timedelta(seconds=wait)
        self.call(lambda: tokens.fail(lease, failure, login=digest, until=until))
        raise LoginError(failure, retry_after=str(math.ceil(wait)))

    def _wait_seconds(self, error: LoginError) -> float:
        wished = retries.retry_after_seconds(error.retry_after, now=self._now())
        return min(max(FAILURE_SECONDS, wished), LONGEST_FAILURE_SECONDS)

    def _retry_after(self, row: AccessToken) -> str:
        left = (row.failed_until - self._now()).total_seconds() if row.failed_until else 0.0
        return str(max(1, math.ceil(left)))

    def _was_renewed_lately(self, row: AccessToken) -> bool:
        at = row.renewed_after_refusal_at
        return at is not None and at > self._now() - RENEW_EVERY


class _Turn:
    """The right of one thread of this process to look after a subscription's token."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


_turns: WeakValueDictionary[int, _Turn] = WeakValueDictionary()
_turns_lock = threading.Lock()


@contextmanager
def _turn_of(key: int, *, seconds: float) -> Iterator[None]:
    """Raises LoginError if another thread has the turn for so long."""
    with _turns_lock:
        turn = _turns.get(key)
        if turn is None:
            turn = _turns[key] = _Turn()
    if not turn.lock.acquire(timeout=max(0.0, seconds)):
        raise LoginError(AWAY)
    try:
        yield
    finally:
        turn.lock.release()


def _forget_turns() -> None:
    # A thread that held a lock is not in the forked process.
    global _turns_lock
    _turns.clear()
    _turns_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_turns)
