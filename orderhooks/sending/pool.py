"""The pool: threads that post what the main thread has claimed and hand it what came of it."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf, logs, matching, tracing, transport
from orderhooks.db import Wakeup
from orderhooks.encryption import UndecryptableError
from orderhooks.models import AccessToken, Delivery, Subscription
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.sending import claiming
from orderhooks.sending.fair_queue import FairQueue, Job
from orderhooks.sending.handshake import Consent, shake_hands
from orderhooks.sending.logins import Login, client_certificate, is_awaited, needs_token
from orderhooks.sending.main_thread import Call, MainThread, call_here
from orderhooks.sending.preparing import prepare
from orderhooks.sending.recording import Sent, record
from orderhooks.shaping import ShapingError
from orderhooks.transport import LoginError, Outcome

logger = logs.get_logger(__name__)

# What a lease lasts beyond the attempt's own deadline: time to begin it, and to write the result down.
BEGIN_SECONDS = 5.0
LEASE_MARGIN_SECONDS = 15.0
# Results are written when BATCH of them wait, after BATCH_SECONDS, or as soon as there is nothing else to do.
BATCH = 25
BATCH_SECONDS = 0.1
LOCKED_SECONDS = 0.5
UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
EXIT_SECONDS = 3.0  # beyond the attempts' own deadline
# With fewer deliveries waiting it is time to claim.
LOW_WATER = 50
# An endpoint that has responded within this time is known to respond.
HEALTHY_FOR = timedelta(hours=1)


class Sender:
    """Threads, and the deliveries that they have under way. A context manager: leaving it waits for them.

    `wakeup` is notified when there is something to record, or to claim; `clock` returns the time. No attempt takes
    longer than `longest_seconds`, whatever its subscription says; None: the setting's limit.
    """

    def __init__(
        self,
        *,
        threads: int,
        wakeup: Wakeup | None = None,
        clock: Callable[[], datetime] = timezone.now,
        longest_seconds: float | None = None,
    ) -> None:
        settings = conf.current()
        self.clock = clock
        self.longest_seconds = settings.timeout_seconds if longest_seconds is None else longest_seconds
        self.queue = FairQueue(
            threads=threads,
            most_of_subscription=settings.max_in_flight,
            most_of_host=settings.max_in_flight_per_host,
        )
        self.stats = StatsBuffer()
        self.wakeup = wakeup or Wakeup()
        self.owns_wakeup = wakeup is None
        self.main_thread = MainThread(self.wakeup.notify)
        self.results: deque[Sent] = deque()
        self.locked: list[Sent] = []  # those whose rows another session has locked, until it is tried again
        self.locked_until = 0.0
        self.not_begun: deque[Delivery] = deque()
        self.recorded_at = time.monotonic()
        self.threads = [
            threading.Thread(target=self._work, name=f"orderhooks-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: BaseException | TracebackType | None) -> None:
        until = time.monotonic() + self.longest_seconds + EXIT_SECONDS
        try:
            # After an error that has nothing to do with them results are written down as ever.
            if kind is not None and issubclass(kind, Exception):
                with contextlib.suppress(Exception):
                    self._drain(until)
            elif kind is None:
                self._drain(until)
            if self.under_way and kind is None:
                logger.warning("results can't be written down in time; they count as lost", results=self.under_way)
        finally:
            # After an error nobody can record a result: the leases run out, and the deliveries are due again.
            self.queue.close()
            if self.owns_wakeup:
                self.wakeup.close()
        if kind is None:
            for thread in self.threads:
                thread.join()

    def _drain(self, until: float) -> None:
        while self.under_way and time.monotonic() < until:
            self.collect(wait_seconds=LOCKED_SECONDS)

    @property
    def under_way(self) -> int:
        """Deliveries that are claimed and neither recorded nor given back yet."""
        unwritten = len(self.results) + len(self.locked) + len(self.not_begun)
        return self.queue.waiting + self.queue.under_way + unwritten

    @property
    def is_busy(self) -> bool:
        """Whether deliveries wait or are under way that will end soon. Requests that hang do not count."""
        return self.queue.is_busy()

    def claim(self, *, now: datetime) -> int:
        """Claim due deliveries for the threads that are or will soon be free, and set off. Returns how many."""
        capacity = self.queue.capacity()
        if capacity <= 0:
            return 0
        due = claiming.due(now=now)
        AccessToken.objects.attach(one.subscription for one in due)
        wants = self._wants(due, now=now)
        proven = [
            self.queue.is_proven(one.subscription.pk, is_healthy=_is_healthy(one.subscription, now=now)) for one in due
        ]
        few = split(
            min(capacity, self.queue.capacity_of_unproven()),
            [0 if known else want for known, want in zip(proven, wants, strict=True)],
        )
        many = split(capacity - sum(few), [want if known else 0 for known, want in zip(proven, wants, strict=True)])
        for one, share in zip(due, map(max, few, many), strict=True):
            one.capacity = share
        begin_by = time.monotonic() + BEGIN_SECONDS
        slowest = max((one.subscription.attempt_seconds for one in due if one.capacity), default=0.0)
        lease = lease_for(min(slowest, self.longest_seconds))
        claimed = claiming.claim(due, now=now, lease_until=now + lease)
        self.queue.put(
            [
                Job(
                    delivery,
                    _host(delivery.subscription.url),
                    begin_by,
                    is_healthy=_is_healthy(delivery.subscription, now=now),
                )
                for delivery in claimed
            ]
        )
        return len(claimed)

    def _wants(self, due: Sequence[claiming.DueSubscription], *, now: datetime) -> list[int]:
        """How many deliveries of each subscription the threads could take."""
        wants, asking = list[int](), set[int]()
        for subscription in (one.subscription for one in due):
            key = subscription.pk
            wanted = max(0, self.queue.capacity_of(key))
            if wanted and needs_token(subscription, now=now):
                # One of them asks for it, by hand or not. The others would only wait, each on a thread.
                is_asked = key in asking or is_awaited(subscription, now=now) or self.queue.claimed_of(key)
                wanted = 0 if is_asked else 1
                asking.add(key)
            wants.append(wanted)
        return wants

    def collect(self, *, wait_seconds: float) -> int:
        """Record the attempts that have ended, waiting for some that long. Returns how many."""
        self.main_thread.serve()
        self.queue.adapt()
        freed = self._write_locked() if self.locked and time.monotonic() > self.locked_until else 0
        if self.under_way and not self._should_record():
            self.wakeup.wait(min(wait_seconds, BATCH_SECONDS) if self.results else wait_seconds)
        if self.not_begun:
            self._give_back()
        return freed + (self._record() if self._should_record() else 0)

    def stop(self) -> None:
        """Begin nothing more: what comes of it could not be written down."""
        self.queue.stopped = True

    def resume(self) -> None:
        """Begin again."""
        if self.queue.stopped:
            self.queue.resume()

    def _should_record(self) -> bool:
        count = len(self.results)
        if not count:
            return False
        # With nothing left to begin there is nothing to wait for, and a limited endpoint needs its capacity.
        return count >= BATCH or not self.queue.waiting or time.monotonic() > self.recorded_at + BATCH_SECONDS

    def _record(self) -> int:
        batch = [self.results.popleft() for _ in range(len(self.results))]
        try:
            written = self._write(batch)
        except BaseException:
            self.results.extendleft(reversed(batch))
            raise
        self.recorded_at = time.monotonic()
        self.queue.results_written(len(batch))
        return written

    def _write_locked(self) -> int:
        batch, self.locked = self.locked, []
        try:
            return self._write(batch)
        except BaseException:
            self.locked = batch
            raise

    def _write(self, batch: list[Sent]) -> int:
        locked = record(batch, now=self.clock(), stats=self.stats)
        if locked:
            self.locked += locked
            self.locked_until = time.monotonic() + LOCKED_SECONDS
        return len(batch) - len(locked)

    def _give_back(self) -> None:
        late = list(self.not_begun)
        claiming.release(late)
        for _ in late:
            self.not_begun.popleft()

    def _work(self) -> None:
        while job := self.queue.take():
            started = time.monotonic()
            if started > job.send_before:
                self.queue.abandon(job)
                self.not_begun.append(job.delivery)
            else:
                seconds = min(job.delivery.subscription.attempt_seconds, self.longest_seconds)
                sent = attempt(job.delivery, seconds, now=self.clock(), call=self.main_thread.call)
                self.results.append(sent)
                self.queue.done(
                    job,
                    seconds=time.monotonic() - started,
                    succeeded=sent.outcome.succeeded,
                    timed_out=sent.outcome.endpoint_is_overloaded,
                )
            if len(self.results) >= BATCH or self.queue.waiting < LOW_WATER:
                self.wakeup.notify()


def lease_for(attempt_seconds: float) -> timedelta:
    """How long the lease of a delivery lasts whose attempt may take `attempt_seconds`."""
    return timedelta(seconds=BEGIN_SECONDS + attempt_seconds + LEASE_MARGIN_SECONDS)


def attempt(delivery: Delivery, timeout_seconds: float, *, now: datetime, call: Call = call_here) -> Sent:
    """Make one attempt; whatever happens is its outcome. `call` runs what needs the database."""
    event, subscription = delivery.event, delivery.subscription
    about: dict[str, str | int] = {
        "server.address": _host(subscription.url),
        "orderhooks.event": event.public_id,
        "orderhooks.topic": event.topic,
        "orderhooks.subscription": subscription.public_id,
        "orderhooks.delivery": delivery.public_id,
        "orderhooks.attempt": delivery.attempts_made,
    }
    with tracing.span("orderhooks attempt", parent=event.traceparent, attributes=about, is_request=True) as span:
        sent = _attempt(delivery, timeout_seconds, now=now, call=call)
        outcome = sent.outcome
        if outcome.status_code is not None:
            span.set({"http.request.method": sent.method, "http.response.status_code": outcome.status_code})
        if not outcome.succeeded:
            span.fail(outcome.error)
    return sent


@sensitive_variables("request")
def _attempt(delivery: Delivery, timeout_seconds: float, *, now: datetime, call: Call) -> Sent:
    started = time.monotonic()
    url = delivery.subscription.url
    try:
        url = transport.called_url(url)
        posted = _post(delivery, started + timeout_seconds, now=now, call=call)
        return Sent(
            delivery,
            posted.kept_headers,
            now,
            posted.outcome,
            transport.safe_text(url),
            method=posted.method,
            consent=posted.consent,
        )
    except LoginError as error:
        outcome = Outcome(
            error="login",
            detail=transport.safe_text(str(error))[:500],
            duration_ms=int((time.monotonic() - started) * 1000),
            login_retry_after=error.retry_after,
        )
    except UndecryptableError as error:
        # Of the secrets, the headers or the login; a payload's is a ShapingError.
        outcome = Outcome(error=matching.KEY_ERROR, detail=transport.safe_text(str(error))[:500])
    except ShapingError as error:
        detail = f"{error} {transport.next_step(error.kind)}"
        outcome = Outcome(error=error.kind, detail=transport.safe_text(detail)[:500])
    except Exception as error:
        # Whatever it is, it is an outcome: a thread's exception would stop the pump and hide itself in a log.
        logger.exception("attempt could not be made", delivery=delivery.public_id, attempt=delivery.attempts_made)
        outcome = Outcome(error="internal", detail=transport.safe_text(f"{type(error).__name__}: {error}")[:500])
    return Sent(delivery, {}, now, outcome, transport.safe_text(url))


@dataclass(frozen=True, slots=True)
class _Posted:
    """The last request of an attempt: OPTIONS if the endpoint did not allow the POST."""

    method: str
    kept_headers: Mapping[str, str]
    outcome: Outcome
    consent: Consent | None


@sensitive_variables()
def _post(delivery: Delivery, deadline: float, *, now: datetime, call: Call) -> _Posted:
    """Judge the event if nobody could, log in, ask for the endpoint's consent where it is needed, and post.

    Once more with another access token if the endpoint refuses the first one with 401.

    Raises LoginError, and the errors of `prepare`.
    """
    matching.require_wanted(delivery)
    started = time.monotonic()
    subscription = delivery.subscription
    # A person who tests an endpoint has just corrected something.
    patient = delivery.trigger != Delivery.Trigger.TEST
    login = Login(subscription, now, deadline, call, patient=patient)
    certificate = client_certificate(subscription, now=now)
    authorization, refused = login.authorization(), ""
    consent: Consent | None = None
    while True:
        request = prepare(delivery, now=now, authorization=authorization, refused=refused)
        posted: _Posted | None = None
        if subscription.lacks_consent and consent is None:
            handshake = shake_hands(request, subscription, deadline=deadline, client_certificate=certificate)
            consent = handshake.consent
            if consent is None:
                posted = _Posted("OPTIONS", handshake.kept_headers, handshake.outcome, None)
        if posted is None:
            outcome = transport.post(
                request.url,
                request.body,
                request.headers,
                timeout_seconds=max(0.0, deadline - time.monotonic()),
                redact=request.redact,
                client_certificate=certificate,
            )
            posted = _Posted("POST", request.kept_headers, outcome, consent)
        seconds = time.monotonic() - started
        posted = replace(posted, outcome=replace(posted.outcome, duration_ms=int(seconds * 1000)))
        if posted.outcome.status_code != UNAUTHORIZED or not login.can_renew:
            return posted
        login.can_renew, refused = False, authorization
        authorization = login.renewed(refused)
        if not authorization:
            return posted


def split(capacity: int, wants: Sequence[int]) -> list[int]:
    """Share `capacity` out evenly, at most what each wants. What does not divide goes to the first ones.

    Returns the shares in the order of `wants`.
    """
    shares = [0] * len(wants)
    open_ = [number for number, want in enumerate(wants) if want > 0]
    while capacity > 0 and open_:
        each = max(1, capacity // len(open_))
        for number in open_:
            more = min(each, wants[number] - shares[number], capacity)
            shares[number] += more
            capacity -= more
        open_ = [number for number in open_ if shares[number] < wants[number]]
    return shares


def _is_healthy(subscription: Subscription, *, now: datetime) -> bool:
    """Whether its last attempt succeeded, and not long ago."""
    failing = subscription.consecutive_failures or subscription.slow_start_limit is not None
    at = subscription.last_success_at
    return not failing and at is not None and at > now - HEALTHY_FOR


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        # Its attempt says what is wrong with the URL.
        return ""
