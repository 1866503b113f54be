"""The life of deliveries, in any order of what can happen to them, against `delivery_model`: P4, P6, P11, P12.

TEST_MODEL_EXAMPLES=2000 looks further than the suite does, and elsewhere each time.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from django.db.models import Model
from django_q.models import OrmQ
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from orderhooks import operations, retention, routing
from orderhooks.models import Attempt, Change, Delivery, Event, Order, Subscription, SubscriptionSecret
from tests.delivery_model import DAY, RETRY_SCHEDULE, Endpoint, Owed, Span
from tests.delivery_workers import START, WORKERS, Workers, answers, few, pick
from tests.factories import cutoffs_at, make_order

EXAMPLES = os.environ.get("TEST_MODEL_EXAMPLES")
RETENTION = 90 * DAY
# Steps after which, in one example of four, everything has to come to its end.
MATURE = 20

# All of it together is as likely as one thing that a worker does.
steps = st.one_of(
    [
        st.tuples(st.just(name), st.fixed_dictionaries(arguments))
        for name, arguments in (
            ("resume", {"number": pick, "skips": st.booleans(), "age": st.sampled_from([0, 60, 4000])}),
            ("edit", {"number": pick, "overlap": st.sampled_from([None, timedelta(0), timedelta(hours=1), DAY])}),
            ("skip", {"number": few, "finished": st.booleans(), "failed": st.booleans()}),
            ("prune", {"later": st.booleans(), "works": st.booleans()}),
            ("pause", {"number": pick, "said": st.none() | answers}),
        )
    ]
)


class Life(Workers):
    """Two orders, three subscriptions, and the operators, beside the two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.ends = False
        # Events that no delivery has been made of yet.
        self.unrouted = 0
        # Before the subscriptions, so that they make no event.
        self.orders = [make_order(lines=[]) for _ in range(2)]

    def teardown(self) -> None:
        tables: tuple[type[Model], ...] = (
            *(Attempt, Delivery, Event, Change),
            *(SubscriptionSecret, Subscription, Order, OrmQ),
        )
        for records in tables:
            rows = records._default_manager.all()
            rows._raw_delete(rows.db)

    @initialize(
        narrow=st.integers(1, 2),
        ordered=st.booleans(),
        saves=st.lists(st.integers(0, 1), min_size=2, max_size=4),
        ends=st.sampled_from([False, False, False, True]),
    )
    def begin(self, narrow: int, ordered: bool, saves: list[int], ends: bool) -> None:
        self.ends = ends
        kinds: tuple[dict[str, Any], ...] = (
            {"ordered": True},
            {"ordered": ordered, "max_in_flight": narrow},
            {"ordered": False, "max_per_second": 1},
        )
        for fields in kinds:
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
        # A turn that takes long leaves the rest for the next.
        routed = 0
        while turn := routing.route(now=self.now):
            routed += turn
        assert routed == self.unrouted
        self.stamp(Delivery, "created_at")
        new = Delivery.objects.exclude(pk__in=self.model.owed).select_related("event").order_by("pk")
        assert len(new) == self.unrouted * len(self.model.endpoints)
        self.unrouted = 0
        for one in new:
            self.model.owed[one.pk] = Owed(
                one.event_id, one.event.order_pk, one.subscription_id, created_at=self.now, due=Span.at(self.now)
            )

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
        retention.prune(before=cutoffs_at(before))
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
            if owed.due and row.next_attempt_at:
                owed.due = owed.due.known(row.next_attempt_at)
            assert log[key] == owed.log
            assert [number for number, *_rest in owed.log] == list(range(1, owed.begun + (owed.state != "sending")))
        for listener in Subscription.objects.all():
            endpoint = self.model.endpoints[listener.pk]
            assert (
                listener.state,
                listener.consecutive_failures,
                listener.circuit_openings,
                listener.slow_start_limit,
            ) == (
                endpoint.state,
                endpoint.failures,
                endpoint.circuit_openings,
                endpoint.slow_start_limit,
            )
            assert (listener.failing_since, listener.last_success_at) == (
                endpoint.failing_since,
                endpoint.last_success_at,
            )
            assert (listener.circuit_open_until is None) == (endpoint.circuit_open_until is None)
            if endpoint.circuit_open_until and listener.circuit_open_until:
                endpoint.circuit_open_until = endpoint.circuit_open_until.known(listener.circuit_open_until)

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

    def delivery(self, number: int, first: Callable[[Owed], int]) -> tuple[int, Owed]:
        """One of all, sorted by what makes it interesting."""
        chosen = sorted(self.model.owed.items(), key=lambda item: -first(item[1]))
        return chosen[number % len(chosen)]

    def stamp(self, model: Any, *fields: str) -> None:
        """Put the test's time where the process or the database has put its own."""
        for name in fields:
            model.objects.filter(**{f"{name}__lt": START}).update(**{name: self.now})


@pytest.mark.slow
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
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
