"""The workers' part of `test_life_of_a_delivery`: they claim, send and record, sleep past their leases and die."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from orderhooks import sending
from orderhooks.models import Delivery
from orderhooks.sending import claiming
from orderhooks.transport import Outcome
from tests.delivery_model import DAY, OUR_OWN_FAULT, Answer, Model, Owed
from tests.factories import claim

# Far ahead of the database's clock and of the process's, so that what they stamp is told from what the test does.
START = datetime(2100, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
WORKERS = ("one", "two")

ANSWERS = {
    "fine": Answer(200),
    "broken": Answer(500, "status"),
    "busy": Answer(503, "status", retry_after="120", asked=timedelta(seconds=120), overloaded=True),
    "busy for years": Answer(429, "status", retry_after="99999999", asked=DAY, overloaded=True),
    "hanging": Answer(None, "timeout", overloaded=True),
    "gone": Answer(410, "status"),
    "our own fault": OUR_OWN_FAULT,
}

pick = st.integers(0, 11)
few = st.integers(0, 3)
worker = st.sampled_from(WORKERS)
answers = st.sampled_from(list(ANSWERS))
seconds = st.sampled_from([None, 0.4, 1, 6, 130, 5000, 100_000, 500_000])


def outcome(answer: Answer) -> Outcome:
    headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
    return Outcome(status_code=answer.status, error=answer.error, response_headers=headers)


class Workers(RuleBasedStateMachine):
    """Two workers, and the time that passes. Each rule does a thing to the engine and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.model = Model()
        self.held: dict[str, list[Delivery]] = {name: [] for name in WORKERS}
        self.sent: dict[int, tuple[str, bytes]] = {}

    @rule(seconds=seconds)
    def wait(self, seconds: float | None) -> None:
        """So long; or to the moment when the first of what waits is due, its circuit closes or its lease is lost."""
        if seconds is not None:
            self.now += timedelta(seconds=seconds)
            return
        moments = [one.due.high for one in self.model.owed.values() if one.due]
        moments += [one.lease_until for one in self.model.owed.values() if one.lease_until]
        moments += [one.circuit_open_until.high for one in self.model.endpoints.values() if one.circuit_open_until]
        self.now = min((moment for moment in moments if moment > self.now), default=self.now)

    def wait_for(self, keys: Iterable[int]) -> None:
        """Until all of these that wait are due."""
        waiting = [owed for owed in map(self.model.owed.get, keys) if owed and owed.state == "pending"]
        self.now = max([self.now, *(owed.due.high for owed in waiting if owed.due)])

    # What a worker does.

    @precondition(lambda self: self.due())
    @rule(name=worker, most=st.integers(1, 3))
    def claim(self, name: str, most: int) -> None:
        self.take(name, most)

    def take(self, name: str, most: int) -> list[int]:
        claimed = claim(most, now=self.now)
        for one in claimed:
            assert one.attempts_made == self.model.owed[one.pk].begun + 1
        self.model.claim([(one.pk, one.lease_token) for one in claimed], most, self.now, self.now + LEASE)
        for one in claimed:
            self.check_request(one)
        self.held[name] += claimed
        return [one.pk for one in claimed]

    def check_request(self, delivery: Delivery) -> None:
        request = sending.prepare(delivery, now=self.now)
        endpoint = self.model.endpoints[delivery.subscription_id]
        assert request.url == endpoint.url
        event_id = request.headers["webhook-id"]
        assert self.sent.setdefault(delivery.pk, (event_id, request.body)) == (event_id, request.body)
        assert request.headers["webhook-attempt"] == str(delivery.attempts_made)
        signed = b"%s.%d.%s" % (event_id.encode(), int(self.now.timestamp()), request.body)
        assert request.headers["webhook-signature"].split(" ") == [
            "v1," + base64.b64encode(hmac.digest(base64.b64decode(secret[6:]), signed, hashlib.sha256)).decode()
            for secret in endpoint.signing(self.now)
        ]

    @precondition(lambda self: self.due())
    @rule(most=st.integers(1, 3), said=answers, rounds=st.integers(1, 4))
    def work(self, most: int, said: str, rounds: int) -> None:
        """A worker that does all that it claims, for endpoints that all say the same, again and again."""
        for _ in range(rounds):
            claimed = self.take("one", most)
            self.answer_in_turn("one", [said] * len(self.held["one"]), False)
            if not claimed:
                break
            self.wait_for(claimed if rounds > 1 else ())

    @precondition(lambda self: self.busy())
    @rule(number=pick, names=st.lists(answers, min_size=1, max_size=4), newest=st.booleans(), twice=st.booleans())
    def answer(self, number: int, names: list[str], newest: bool, twice: bool) -> None:
        name = self.holder(number)
        if newest:
            self.held[name].reverse()
        self.answer_in_turn(name, names, twice)

    def answer_in_turn(self, name: str, names: list[str], twice: bool) -> None:
        """The worker's first requests end, and it writes that down, again if it could not tell whether it had."""
        ended = list(zip(self.held[name], names, strict=False))
        self.held[name] = self.held[name][len(ended) :]
        sent = [sending.Sent(one, {}, self.now, outcome(ANSWERS[said])) for one, said in ended]
        answers = [(one.pk, one.lease_token, ANSWERS[said]) for one, said in ended]
        for _ in range(1 + twice):
            assert sending.record(sent, now=self.now) == [], "nobody else has locked them"
            self.model.record(answers, self.now)

    @precondition(lambda self: self.due() or self.under_way())
    @rule(other=worker, said=answers, newest=st.booleans(), gives_back=st.booleans())
    def sleep_past_the_lease(self, other: str, said: str, newest: bool, gives_back: bool) -> None:
        """A worker is stopped. Its deliveries are taken for lost, are due again and claimed again; then it goes on.

        Who claimed them may be the same worker: then it has two claims of each.
        """
        self.take("one", 2)
        if self.under_way():
            self.recover(True)
        self.wait_for([one.pk for one in self.held["one"]])
        self.take(other, 3)
        if newest:
            self.held["one"].reverse()
        if gives_back:
            self.give_back("one")
        else:
            self.answer_in_turn("one", [said] * len(self.held["one"]), False)

    @precondition(lambda self: self.busy())
    @rule(number=pick, crashes=st.booleans())
    def let_go(self, number: int, crashes: bool) -> None:
        """A worker dies with what it has claimed, or gives it back as it has not begun it."""
        name = self.holder(number)
        if crashes:
            self.held[name] = []
        else:
            self.give_back(name)

    def give_back(self, name: str) -> None:
        claiming.release(self.held[name])
        for one in self.held[name]:
            owed = self.model.owed.get(one.pk)
            if owed and owed.state == "sending" and owed.token == one.lease_token:
                owed.release()
        self.held[name] = []

    @precondition(lambda self: self.under_way())
    @rule(late=st.booleans())
    def recover(self, late: bool) -> None:
        """Late: when the leases are over, whose workers may still come back."""
        if late:
            self.now = max(one.lease_until for one in self.under_way() if one.lease_until)
        assert sending.recover(now=self.now) == self.model.recover(self.now)

    # Getting about.

    def holder(self, number: int) -> str:
        """A worker that holds something."""
        return self.busy()[number % len(self.busy())]

    def busy(self) -> list[str]:
        return [name for name in WORKERS if self.held[name]]

    def due(self) -> list[Owed]:
        """What a worker may try to claim; it need not get it."""
        return self.model.each(lambda one: one.state == "pending" and one.is_due(self.now))

    def under_way(self) -> list[Owed]:
        return self.model.each(lambda one: one.state == "sending")
