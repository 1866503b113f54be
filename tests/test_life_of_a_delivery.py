"""The life of deliveries, in any order of what can happen to them, against `delivery_model`: P4, P6, P11, P12.

TEST_MODEL_EXAMPLES=2000 looks further than the suite does, and elsewhere each time.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from django_q.models import OrmQ
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orderhooks import operations, retention, routing, sending
from orderhooks.models import Attempt, Change, Delivery, Event, Order, Subscription, SubscriptionSecret
from orderhooks.sending import claiming
from orderhooks.transport import Outcome
from tests.delivery_model import DAY, OUR_OWN_FAULT, RETRY_SCHEDULE, Answer, Endpoint, Model, Owed, Span
from tests.factories import claim, make_order

EXAMPLES = os.environ.get("TEST_MODEL_EXAMPLES")
# Far ahead of the database's clock and of the process's, so that their times can be distinguished from the test's.
START = datetime(2100, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RETENTION = 90 * DAY
WORKERS = ("one", "two")
# Steps after which, in one example of four, everything has to come to its end.
MATURE = 20

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
# All of it together is as likely as one thing that a worker does.
steps = st.one_of(
    st.tuples(st.just(name), st.fixed_dictionaries(arguments))
    for name, arguments in (
        ("resume", {"number": pick, "skips": st.booleans(), "age": st.sampled_from([0, 60, 4000])}),
        ("edit", {"number": pick, "overlap": st.sampled_from([None, timedelta(0), timedelta(hours=1), DAY])}),
        ("skip", {"number": few, "finished": st.booleans(), "failed": st.booleans()}),
        ("prune", {"later": st.booleans(), "works": st.booleans()}),
        ("pause", {"number": pick, "said": st.none() | answers}),
    )
)


def outcome(answer: Answer) -> Outcome:
    headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
    return Outcome(status_code=answer.status, error=answer.error, response_headers=headers)


class Life(RuleBasedStateMachine):
    """Two orders, three subscriptions, two workers. Each rule does a thing to the engine and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.steps = 0
        self.ends = False
        # Events that no delivery has been made of yet.
        self.unrouted = 0
        self.model = Model()
        self.held: dict[str, list[Delivery]] = {name: [] for name in WORKERS}
        self.sent: dict[int, tuple[str, bytes]] = {}
        # Before the subscriptions, so that they make no event.
        self.orders = [make_order(lines=[]) for _ in range(2)]

    def teardown(self) -> None:
        for records in (Attempt, Delivery, Event, Change, SubscriptionSecret, Subscription, Order, OrmQ):
            rows = records.objects.all()
            rows._raw_delete(rows.db)

    @initialize(
        narrow=st.integers(1, 2), ordered=st.booleans(), saves=st.lists(st.integers(0, 1), min_size=2, max_size=4)
    )
    def begin(self, narrow: int, ordered: bool, saves: list[int]) -> None:
        for fields in (
            {"ordered": True},
            {"ordered": ordered, "max_in_flight": narrow},
            {"ordered": False, "max_per_second": 1},
        ):
            subscription, secret = Subscription.create_with_secret(
                name="endpoint", url="http://127.0.0.1:9009/0", topics=["order.updated"], **fields
            )
            self.model.endpoints[subscription.pk] = Endpoint(
                url=subscription.url,
                secrets=[(secret, None)],
                ordered=fields["ordered"],
                max_in_flight=fields.get("max_in_flight"),
                a_second_apart="max_per_second" in fields,
            )
        for number in saves:
            self.publish(number, True)

    # The store.

    @rule(number=st.integers(0, 1), routed=st.booleans())
    def publish(self, number: int, routed: bool) -> None:
        order = self.orders[number]
        order.note += "."
        order.save()
        self.unrouted += 1
        self.stamp(Event, "occurred_at", "published_at")
        if routed:
            self.route()

    def route(self) -> None:
        assert routing.route(now=self.now) == self.unrouted
        self.stamp(Delivery, "created_at")
        new = Delivery.objects.exclude(pk__in=self.model.owed).select_related("event").order_by("pk")
        assert len(new) == self.unrouted * len(self.model.endpoints)
        self.unrouted = 0
        for one in new:
            self.model.owed[one.pk] = Owed(
                one.event_id, one.event.order_pk, one.subscription_id, created_at=self.now, due=Span.at(self.now)
            )

    @rule(seconds=seconds)
    def wait(self, seconds: float | None) -> None:
        """That long; or until the first of what waits is due, its circuit closes or its lease is lost."""
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
        self.now = max([self.now, *(owed.due.high for owed in waiting)])

    # The workers.

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
        """The worker's first requests end, and it records that, again if it did not find out whether it had."""
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
            self.now = max(one.lease_until for one in self.under_way())
        assert sending.recover(now=self.now) == self.model.recover(self.now)

    # The operators.

    @precondition(lambda self: self.model.owed)
    @rule(operation=steps)
    def operate(self, operation: tuple[str, dict[str, Any]]) -> None:
        name, arguments = operation
        getattr(self, name)(**arguments)

    def pause(self, number: int, said: str | None) -> None:
        """What is under way goes on, and may end at once."""
        subscription, endpoint = self.endpoint(number)
        operations.pause(Subscription.objects.filter(pk=subscription))
        endpoint.state = "paused"
        if said and self.busy():
            name = self.holder(number)
            self.answer_in_turn(name, [said] * len(self.held[name]), False)

    def resume(self, number: int, skips: bool, age: int) -> None:
        subscription, endpoint = self.endpoint(number)
        before = self.now - timedelta(seconds=age) if skips else None
        resumed = operations.resume(Subscription.objects.filter(pk=subscription), skip_before=before)
        self.stamp(Delivery, "finished_at")
        skipped = []
        if stopped := endpoint.state != "active":
            endpoint.resume()
            held = self.model.each(lambda one: one.endpoint == subscription and one.state == "pending")
            skipped = [one for one in held if before and one.created_at < before]
        for one in skipped:
            one.skip(self.now)
        assert (resumed.subscriptions, resumed.skipped) == (stopped, len(skipped))

    @precondition(lambda self: self.model.owed)
    @rule(number=few, at_once=st.booleans())
    def redeliver(self, number: int, at_once: bool) -> None:
        """What is finished, first of an ordered one that is under way; between the looks of two workers or not."""
        if at_once:
            self.take("one", 1)
        beside = {(one.endpoint, one.order) for one in self.under_way() if self.model.endpoints[one.endpoint].ordered}
        key, owed = self.delivery(number, lambda one: one.is_finished and 1 + ((one.endpoint, one.order) in beside))
        may = owed.state != "sending"
        assert operations.redeliver(Delivery.objects.filter(pk=key)) == may
        self.stamp(Delivery, "next_attempt_at")
        if may:
            owed.redeliver(self.now)
        if at_once:
            self.take("two", 3)

    def skip(self, number: int, finished: bool, failed: bool) -> None:
        """What waits, or has failed too; or, in vain, what has another end."""
        key, owed = self.delivery(number, lambda one: one.is_finished == finished)
        may = owed.state == "pending" or (failed and owed.state == "failed")
        assert Delivery.objects.filter(pk=key).skip(failed=failed) == may
        self.stamp(Delivery, "finished_at")
        if may:
            owed.skip(self.now)

    def prune(self, later: bool, works: bool) -> None:
        """Now, or when all that is there is old, though some of it may have come to its end only now."""
        self.now += RETENTION if later else timedelta(0)
        if works:
            self.work(2, "fine", 1)
        before = self.now - RETENTION + timedelta(hours=1)
        retention.prune(before=before)
        self.model.prune(before)

    def edit(self, number: int, overlap: timedelta | None) -> None:
        """A new URL, or a new secret that the former one signs beside for so long."""
        key, endpoint = self.endpoint(number)
        subscription = Subscription.objects.get(pk=key)
        if overlap is None:
            subscription.url = endpoint.url = endpoint.url + "0"
            subscription.save(update_fields=["url", "updated_at"])
        else:
            endpoint.rotate(subscription.rotate_secret(now=self.now, overlap=overlap), self.now, overlap)

    # What holds at any time.

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        self.steps += 1
        rows = {row.pk: row for row in Delivery.objects.all()}
        assert rows.keys() == self.model.owed.keys(), "none vanishes, none comes from nowhere"
        log: dict[int, list[tuple[Any, ...]]] = {key: [] for key in rows}
        for key, *attempt in Attempt.objects.order_by("number").values_list(
            "delivery_id", "number", "trigger", "status_code", "error"
        ):
            log[key].append(tuple(attempt))
        for key, owed in self.model.owed.items():
            row = rows[key]
            assert (row.state, row.trigger, row.attempts_made) == (owed.state, owed.trigger, owed.begun)
            assert (row.lease_token, row.lease_expires_at) == (owed.token, owed.lease_until)
            assert (row.finished_at, row.last_status_code, row.last_error) == (
                owed.finished_at,
                owed.status,
                owed.error,
            )
            assert (row.next_attempt_at is None) == (owed.due is None)
            owed.due = owed.due and owed.due.known(row.next_attempt_at)
            assert log[key] == owed.log
            assert [number for number, *_rest in owed.log] == list(range(1, owed.begun + (owed.state != "sending")))
        for row in Subscription.objects.all():
            endpoint = self.model.endpoints[row.pk]
            assert (row.state, row.consecutive_failures, row.circuit_openings, row.slow_start_limit) == (
                endpoint.state,
                endpoint.failures,
                endpoint.circuit_openings,
                endpoint.slow_start_limit,
            )
            assert (row.failing_since, row.last_success_at) == (endpoint.failing_since, endpoint.last_success_at)
            assert (row.circuit_open_until is None) == (endpoint.circuit_open_until is None)
            endpoint.circuit_open_until = endpoint.circuit_open_until and endpoint.circuit_open_until.known(
                row.circuit_open_until
            )

    @invariant()
    def the_limits_hold(self) -> None:
        under_way: dict[int, list[str]] = {}
        for subscription, order in Delivery.objects.filter(state="sending").values_list(
            "subscription_id", "event__order_pk"
        ):
            under_way.setdefault(subscription, []).append(order)
        for subscription, orders in under_way.items():
            endpoint = self.model.endpoints[subscription]
            assert endpoint.max_in_flight is None or len(orders) <= endpoint.max_in_flight
            assert not endpoint.ordered or len(set(orders)) == len(orders)

    @precondition(lambda self: self.ends and self.steps >= MATURE)
    @rule()
    def all_of_it_ends(self) -> None:
        """From any state: with good endpoints and a worker that lives, nothing waits but behind what has failed."""
        self.ends = False
        self.held = {name: [] for name in WORKERS}
        for number in range(len(self.model.endpoints)):
            self.resume(number, False, 0)
        self.route()
        for _round in range(50):
            left = [key for key, one in self.model.owed.items() if not one.is_finished]
            if all(self.model.is_blocked(key) for key in left):
                return
            self.now += DAY + timedelta(hours=5)
            self.recover(False)
            self.take("one", 50)
            self.answer_in_turn("one", ["fine"] * len(self.held["one"]), False)
            self.the_rows_are_what_the_model_says()
        raise AssertionError(f"{left} never end")

    # Getting about.

    def endpoint(self, number: int) -> tuple[int, Endpoint]:
        return list(self.model.endpoints.items())[number % len(self.model.endpoints)]

    def holder(self, number: int) -> str:
        """A worker that holds something."""
        return self.busy()[number % len(self.busy())]

    def busy(self) -> list[str]:
        return [name for name in WORKERS if self.held[name]]

    def delivery(self, number: int, first: Callable[[Owed], int]) -> tuple[int, Owed]:
        """One of all, sorted by what makes it interesting."""
        chosen = sorted(self.model.owed.items(), key=lambda item: -first(item[1]))
        return chosen[number % len(chosen)]

    def due(self) -> list[Owed]:
        """What a worker may try to claim; it need not get it."""
        return self.model.each(lambda one: one.state == "pending" and one.due.low <= self.now)

    def under_way(self) -> list[Owed]:
        return self.model.each(lambda one: one.state == "sending")

    def stamp(self, model: Any, *fields: str) -> None:
        """Put the test's time where the process or the database has put its own."""
        for name in fields:
            model.objects.filter(**{f"{name}__lt": START}).update(**{name: self.now})


@pytest.mark.django_db(transaction=True)
def test_whatever_happens_deliveries_go_the_way_that_was_promised(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": RETRY_SCHEDULE}
    run_state_machine_as_test(
        Life,
        settings=hypothesis.settings(
            max_examples=int(EXAMPLES or 20),
            stateful_step_count=40,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
