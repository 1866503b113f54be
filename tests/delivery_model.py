"""What the engine has promised about deliveries, kept in memory beside it: `test_life_of_a_delivery` holds it to this.

It knows no database and takes nothing from the engine but the rows' keys, the tokens, and where in an allowed span of
time a wait has fallen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

RETRY_SCHEDULE = (5.0, 60.0, 600.0)
DAY = timedelta(days=1)
DISABLE_AFTER = 5 * DAY
LONGEST_ASKED = DAY
LONGEST_REST_SECONDS = 300.0
SLOW_START_TOP = 128


class Span(NamedTuple):
    """A time that chance decides within bounds; once it is known, both are the same."""

    low: datetime
    high: datetime

    @classmethod
    def at(cls, moment: datetime) -> "Span":
        return cls(moment, moment)

    @classmethod
    def after(cls, now: datetime, seconds: float, *, at_least: timedelta) -> "Span":
        """That long after now, 20 % either way, but not sooner than the receiver asked."""
        return cls(*(now + max(timedelta(seconds=seconds * share), at_least) for share in (0.8, 1.2)))

    def known(self, moment: datetime) -> "Span":
        slack = timedelta(microseconds=1)
        assert self.low - slack <= moment <= self.high + slack, f"{moment} is not in {self.low} to {self.high}"
        return Span.at(moment)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request, and what it means: `asked` is the wait of `retry_after` in seconds."""

    status: int | None = None
    error: str = ""
    retry_after: str = ""
    asked: timedelta = timedelta(0)
    ours: bool = False
    overloaded: bool = False

    @property
    def succeeded(self) -> bool:
        return not self.error

    @property
    def blames(self) -> bool:
        """Whether the endpoint is to blame."""
        return not self.succeeded and not self.ours


OUR_OWN_FAULT = Answer(error="internal", ours=True)


@dataclass(slots=True)
class Endpoint:
    """A subscription."""

    url: str
    secrets: list[tuple[str, datetime | None]]
    ordered: bool = False
    max_in_flight: int | None = None
    a_second_apart: bool = False
    state: str = "active"
    failures: int = 0
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    circuit_open_until: Span | None = None
    circuit_openings: int = 0
    slow_start_limit: int | None = None
    # When something was claimed for it last.
    claimed_at: datetime | None = None

    def is_circuit_open(self, now: datetime) -> bool:
        return self.circuit_open_until is not None and self.circuit_open_until.low > now

    def is_known_to_be_well(self, now: datetime) -> bool:
        """Then a success need not be written down."""
        ill = self.failures or self.circuit_open_until or self.slow_start_limit is not None
        return not ill and self.last_success_at is not None and self.last_success_at > now - timedelta(seconds=1)

    def room(self, in_flight: int, now: datetime, *, automatic: bool) -> int:
        """How many more requests may go out."""
        room = 1000
        if self.max_in_flight is not None:
            room = min(room, self.max_in_flight - in_flight)
        if self.a_second_apart:
            rested = self.claimed_at is None or now - self.claimed_at >= timedelta(seconds=1)
            room = min(room, 1 if rested else 0)
        if automatic and self.slow_start_limit is not None:
            room = min(room, 0 if self.is_circuit_open(now) else self.slow_start_limit - in_flight)
        return max(0, room)

    def signing(self, now: datetime) -> list[str]:
        return [secret for secret, until in self.secrets if until is None or until > now]

    def rotate(self, secret: str, now: datetime, overlap: timedelta) -> None:
        ends = [(one, min(until or now + overlap, now + overlap)) for one, until in self.secrets]
        self.secrets = [(secret, None), *((one, until) for one, until in ends if until > now)]

    def resume(self) -> None:
        self.state, self.failures, self.failing_since, self.circuit_open_until, self.circuit_openings = (
            "active",
            0,
            None,
            None,
            0,
        )

    def judge(self, answer: Answer, now: datetime) -> None:
        """What an automatic attempt says about its health."""
        if answer.succeeded:
            self.failures, self.failing_since, self.circuit_open_until, self.circuit_openings = 0, None, None, 0
            self.last_success_at = now
            if self.slow_start_limit is not None:
                self.slow_start_limit = self.slow_start_limit + 1 if self.slow_start_limit < SLOW_START_TOP else None
        elif answer.status == 410:
            self.state = "disabled" if self.state == "active" else self.state
        elif answer.blames:
            self.failures += 1
            self.failing_since = self.failing_since or now
            if answer.overloaded:
                self._open_circuit(answer.asked, now)

    def _open_circuit(self, asked: timedelta, now: datetime) -> None:
        if not self.is_circuit_open(now):
            self.circuit_openings += 1
        seconds = min(2.0 ** (self.circuit_openings - 1), LONGEST_REST_SECONDS)
        until = Span.after(now, seconds, at_least=min(asked, LONGEST_ASKED))
        former = self.circuit_open_until or until
        self.circuit_open_until = Span(max(former.low, until.low), max(former.high, until.high))
        self.slow_start_limit = 1


@dataclass(slots=True)
class Owed:
    """A delivery. `log` is its attempts on record: number, trigger, status, error."""

    event: int
    order: str
    endpoint: int
    created_at: datetime
    due: Span | None
    state: str = "pending"
    trigger: str = "automatic"
    begun: int = 0
    # Attempts that the retry table does not count, and what it has planned while one by hand goes first.
    uncounted: int = 0
    planned: Span | None = None
    token: object = None
    lease_until: datetime | None = None
    finished_at: datetime | None = None
    status: int | None = None
    error: str = ""
    log: list[tuple[int, str, int | None, str]] = field(default_factory=list)
    # The endpoint as it was when this was claimed.
    seen: Endpoint | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in ("delivered", "failed", "skipped")

    def is_due(self, now: datetime) -> bool:
        return self.due is not None and self.due.low <= now

    def release(self) -> None:
        self.begun -= 1
        self.state, self.token, self.lease_until = "pending", None, None

    def redeliver(self, now: datetime) -> None:
        if self.state != "pending":
            self.planned, self.uncounted = None, self.begun
        elif self.trigger == "automatic":
            self.planned = self.due
        self.state, self.trigger, self.due, self.finished_at = "pending", "manual", Span.at(now), None

    def skip(self, now: datetime) -> None:
        self.state, self.due, self.finished_at = "skipped", None, now

    def end(self, answer: Answer, now: datetime) -> None:
        """An attempt of it has ended, and its worker still holds it."""
        self.log.append((self.begun, self.trigger, answer.status, answer.error))
        self.token, self.lease_until, self.status, self.error = None, None, answer.status, answer.error
        self.due, self.finished_at = None, now
        if answer.succeeded:
            self.state = "delivered"
        elif self.planned is None and self.begun - self.uncounted > len(RETRY_SCHEDULE):
            self.state = "failed"
        else:
            self.state, self.trigger, self.finished_at = "pending", "automatic", None
            asked = min(answer.asked, LONGEST_ASKED)
            self.due = self.planned or Span.after(now, RETRY_SCHEDULE[self.begun - self.uncounted - 1], at_least=asked)
        self.uncounted += self.planned is not None
        self.planned = None


@dataclass(slots=True)
class Model:
    """Endpoints and deliveries by their primary keys."""

    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    owed: dict[int, Owed] = field(default_factory=dict)

    def of(self, endpoint: int, *states: str) -> list[int]:
        return [key for key, one in self.owed.items() if one.endpoint == endpoint and one.state in states]

    def same_order(self, key: int) -> list[Owed]:
        one = self.owed[key]
        return [
            other
            for other in self.owed.values()
            if other is not one and other.endpoint == one.endpoint and other.order == one.order
        ]

    def is_blocked(self, key: int) -> bool:
        """Whether the order's other events hold it up, in an ordered subscription."""
        one = self.owed[key]
        return self.endpoints[one.endpoint].ordered and any(
            other.state == "sending" or (other.event < one.event and other.state in ("pending", "failed"))
            for other in self.same_order(key)
        )

    def claimable(self, endpoint: int, trigger: str, now: datetime) -> set[int]:
        return {
            key
            for key in self.of(endpoint, "pending")
            if self.owed[key].trigger == trigger and self.owed[key].is_due(now) and not self.is_blocked(key)
        }

    def claim(self, claimed: Sequence[tuple[int, object]], most: int, now: datetime, lease_until: datetime) -> None:
        """A worker has claimed these, at most `most` of each kind from each endpoint."""
        for number in self.endpoints:
            self._check_claim(number, {key for key, _token in claimed if self.owed[key].endpoint == number}, most, now)
        for key, token in claimed:
            one = self.owed[key]
            assert not self.is_blocked(key), "two of an order at once"
            one.state, one.token, one.lease_until, one.begun = "sending", token, lease_until, one.begun + 1
            one.seen = replace(self.endpoints[one.endpoint])

    def _check_claim(self, number: int, claimed: set[int], most: int, now: datetime) -> None:
        endpoint, in_flight = self.endpoints[number], len(self.of(number, "sending"))
        by_hand, by_itself = (self.claimable(number, trigger, now) for trigger in ("manual", "automatic"))
        assert claimed <= by_hand | by_itself, "claimed what is not due, not waiting, or not next of its order"
        first = then = 0
        if endpoint.state == "active":
            first = min(most, len(by_hand), endpoint.room(in_flight, now, automatic=False))
            room = endpoint.room(in_flight + first, now, automatic=True)
            then = min(most, len(by_itself), 0 if first and endpoint.a_second_apart else room)
        assert len(claimed & by_hand) == first, "not as many as people asked for and the limits allow"
        assert len(claimed & by_itself) == then, "not as many as are due and the limits allow"
        endpoint.claimed_at = now if claimed else endpoint.claimed_at

    def record(self, answers: Iterable[tuple[int, object, Answer]], now: datetime) -> None:
        """Attempts have ended, made with these tokens: who no longer holds the lease changes nothing."""
        told: dict[int, list[Answer]] = {}
        for key, token, answer in answers:
            one = self.owed.get(key)
            if one is None or one.state != "sending" or one.token != token:
                continue
            assert one.seen is not None
            tells = answer.blames or not one.seen.is_known_to_be_well(now)
            if answer.status == 410 or (one.trigger == "automatic" and tells):
                told.setdefault(one.endpoint, []).append(answer)
            one.end(answer, now)
        for number, said in told.items():
            endpoint = self.endpoints[number]
            for answer in said:
                endpoint.judge(answer, now)
            blamed, since = any(answer.blames for answer in said), endpoint.failing_since
            if blamed and endpoint.state == "active" and since is not None and since <= now - DISABLE_AFTER:
                endpoint.state = "disabled"

    def recover(self, now: datetime) -> int:
        lost = [(key, one) for key, one in self.owed.items() if one.lease_until is not None and one.lease_until <= now]
        for _key, one in lost:
            one.seen = replace(self.endpoints[one.endpoint])
        self.record([(key, one.token, OUR_OWN_FAULT) for key, one in lost], now)
        return len(lost)

    def each(self, chosen: Callable[[Owed], bool]) -> list[Owed]:
        return [one for one in self.owed.values() if chosen(one)]

    def prune(self, before: datetime) -> None:
        """Finished and old ones go."""
        old = [key for key, one in self.owed.items() if one.finished_at is not None and one.finished_at < before]
        for key in old:
            del self.owed[key]
