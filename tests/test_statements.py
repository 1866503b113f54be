"""Each statement that is written out for PostgreSQL does what the form for any database does."""

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orderhooks.models import Attempt, Delivery, Event
from orderhooks.sending import claiming, claiming_postgresql, finishing, finishing_postgresql
from orderhooks.sending.claiming import DueSubscription
from orderhooks.sending.finishing import Result
from tests.factories import make_delivery, make_event, make_subscription

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="these statements are PostgreSQL's"),
]

NOW = timezone.now().replace(microsecond=0)
MINUTE = timedelta(minutes=1)
STATES = ["pending", "pending", "pending", "sending", "delivered", "failed", "skipped"]


def make_many(seed: int) -> None:
    """Deliveries in every state, of orders with several events each, some events not routed yet."""
    chance = random.Random(seed)
    subscriptions = [
        make_subscription(
            ordered=chance.random() < 0.5,
            state=chance.choice(["active", "active", "active", "paused"]),
            circuit_open_until=chance.choice([None, None, NOW - MINUTE, NOW + MINUTE]),
        )
        for _ in range(8)
    ]
    for number in range(60):
        event = make_event(order_pk=str(number % 7), routed_at=chance.choice([NOW, NOW, NOW, None]), published_at=NOW)
        for subscription in chance.sample(subscriptions, 4):
            state = chance.choice(STATES)
            make_delivery(
                event=event,
                subscription=subscription,
                state=state,
                trigger=chance.choice(["automatic", "automatic", "manual"]),
                planned_at=NOW,
                next_attempt_at=NOW + chance.randrange(-90, 30) * MINUTE if state == "pending" else None,
            )


def undone(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """What the function returns; what it wrote is undone."""
    with transaction.atomic():
        result = function(*arguments, **keywords)
        transaction.set_rollback(True)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_due(seed: int) -> None:
    make_many(seed)
    written_out = [(one.pk, trigger) for one, trigger in claiming_postgresql.due(now=NOW, at_most=claiming.AT_ONCE)]
    portable = [(one.subscription.pk, one.trigger) for one in claiming.due_portably(now=NOW)]
    assert len(portable) >= 5
    # Of those whose heads are equally old any may come first; and an ordered one's head may be a blocked delivery.
    assert sorted(written_out) == sorted(portable)
    assert [trigger for _pk, trigger in written_out] == [trigger for _pk, trigger in portable]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_claimed(seed: int, *, ordered: bool) -> None:
    make_many(seed)
    chance = random.Random(seed)
    due = [
        DueSubscription(one.subscription, one.trigger, capacity=chance.randrange(1, 6))
        for one in claiming.due(now=NOW)
        if ordered or not one.subscription.ordered
    ]

    def claimed(claim: Any) -> list[tuple[Any, ...]]:
        found = claim(due, now=NOW, lease_until=NOW + MINUTE)
        rows = Delivery.objects.filter(pk__in=[one.pk for one in found], lease_expires_at=NOW + MINUTE)
        assert rows.count() == len(found) == rows.exclude(lease_token=None).count()
        return sorted((one.pk, one.state, one.attempts_made, one.trigger, one.event_id) for one in found)

    portable = undone(claimed, claiming.claim_portably)
    assert portable
    assert undone(claimed, claiming_postgresql.claim) == portable


@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_written(seed: int) -> None:
    make_many(seed)
    chance = random.Random(seed)
    due = [DueSubscription(one.subscription, one.trigger, capacity=9) for one in claiming.due(now=NOW)]
    claimed = claiming.claim(due, now=NOW, lease_until=NOW + MINUTE)
    Delivery.objects.filter(pk__in=[one.pk for one in claimed[::3]]).update(
        lease_token=uuid.uuid4()
    )  # another's by now
    attempt = {
        "trigger": "automatic",
        "requested_by": "",
        "started_at": NOW,
        "duration_ms": 12,
        "method": "POST",
        "url": "https://example.com/",
        "status_code": None,
        "error": "timeout",
        "detail": "It did not answer \u00e4.",
        "request_headers": {"a": "b"},
        "response_headers": {},
        "response_body": "",
    }
    results = [
        Result(
            delivery=one,
            state=state,
            trigger="automatic",
            requested_by="",
            next_attempt_at=NOW + MINUTE if state == "pending" else None,
            uncounted_attempts=chance.randrange(3),
            finished_at=None if state == "pending" else NOW,
            last_status_code=chance.choice([None, 500]),
            last_error="timeout",
            last_detail="It did not answer.",
            attempt=attempt,
        )
        for one in claimed
        for state in [chance.choice(["pending", "delivered", "failed"])]
    ]

    def written(finish: Any) -> tuple[Any, ...]:
        leases = finish(results)
        attempts = Attempt.objects.order_by("delivery", "number").values_list("delivery", "number", *attempt)
        return leases, list(Delivery.objects.order_by("pk").values()), list(attempts)

    portable = undone(written, finishing.finish_portably)
    assert 0 < len(portable[0]) < len(results)
    assert undone(written, finishing_postgresql.finish) == portable
    assert Event.objects.count() == 60
