"""Claims on PostgreSQL: the statements of `claiming` written out, each as one statement.

Django takes several times as long to build the query as PostgreSQL to run it, and every pump runs it before each claim.
A statement ends by itself: a worker that is stopped in the middle of it locks nothing. tests/test_statements.py
compares them with the forms that they must equal.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from orderhooks.compiled_queries import columns_of, instances
from orderhooks.models.deliveries import Delivery
from orderhooks.models.subscriptions import Subscription

if TYPE_CHECKING:
    from orderhooks.sending.claiming import DueSubscription

__all__ = ["claim", "due"]

# Equals `DeliveryQuerySet.unblocked`, for a row `delivery`.
IS_NEXT = """NOT EXISTS (
    SELECT FROM orderhooks_event mine
    JOIN orderhooks_event other USING (source, order_pk)
    LEFT JOIN orderhooks_delivery beside
        ON beside.event_id = other.sequence AND beside.subscription_id = delivery.subscription_id
    WHERE mine.sequence = delivery.event_id AND CASE
        WHEN other.sequence < mine.sequence THEN beside.state IN ('pending', 'sending', 'failed')
            OR other.routed_at IS NULL AND other.published_at IS NOT NULL
        WHEN other.sequence > mine.sequence THEN beside.state = 'sending'
    END
)"""
COLUMNS = columns_of(Subscription, "subscription")


def _finding(condition: str = "") -> str:
    return f"""
SELECT {COLUMNS}, kind.trigger AS due_trigger
FROM (VALUES ('manual', 1), ('automatic', 2)) AS kind (trigger, turn)
CROSS JOIN orderhooks_subscription subscription
CROSS JOIN LATERAL (
    SELECT delivery.next_attempt_at FROM orderhooks_delivery delivery
    WHERE delivery.subscription_id = subscription.id AND delivery.trigger = kind.trigger
        AND delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
        {condition}
    ORDER BY delivery.next_attempt_at, delivery.id
    LIMIT 1
) head
WHERE subscription.state = 'active'
    AND (kind.trigger = 'manual'
        OR subscription.circuit_open_until IS NULL OR subscription.circuit_open_until <= %(now)s)
ORDER BY kind.turn, head.next_attempt_at
LIMIT %(at_most)s
"""  # noqa: S608 - made of constants


# Equal `claiming.due_portably`, for both triggers at once: without a subscription that is ordered, and for any. The
# condition takes as long to plan as all the rest.
DUE = _finding()
DUE_IN_ORDER = _finding(f"AND (NOT subscription.ordered OR {IS_NEXT})")


def due(*, now: datetime, at_most: int) -> list[tuple[Subscription, str]]:
    """Each subscription that has something due, with the trigger of what is due."""
    found = _due(DUE, now=now, at_most=at_most)
    if any(one.ordered for one in found):
        found = _due(DUE_IN_ORDER, now=now, at_most=at_most)
    return [(subscription, vars(subscription)["due_trigger"]) for subscription in found]


def _due(text: str, *, now: datetime, at_most: int) -> list[Subscription]:
    return instances(Subscription, text, {"now": now, "at_most": at_most}, using=Delivery.objects.db)


def _claiming(condition: str = "") -> str:
    return f"""
WITH due_subscription AS (
    SELECT * FROM unnest(%(subscriptions)s::bigint[], %(triggers)s::text[], %(capacities)s::int[], %(ordered)s::bool[])
    AS due_subscription (subscription_id, trigger, capacity, ordered)
), due AS MATERIALIZED (
    SELECT head.id FROM due_subscription CROSS JOIN LATERAL (
        SELECT first.id FROM (
            SELECT delivery.id FROM orderhooks_delivery delivery
            WHERE delivery.subscription_id = due_subscription.subscription_id
                AND delivery.trigger = due_subscription.trigger
                AND delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
                {condition}
            ORDER BY delivery.next_attempt_at, delivery.id
            LIMIT %(at_most)s
            FOR NO KEY UPDATE SKIP LOCKED
        ) first
        LIMIT due_subscription.capacity
    ) head
)
UPDATE orderhooks_delivery delivery
SET state = 'sending', attempts_made = attempts_made + 1, lease_token = %(token)s, lease_expires_at = %(lease_until)s
FROM due WHERE delivery.id = due.id
RETURNING delivery.id, delivery.public_id, delivery.event_id, delivery.subscription_id, delivery.state,
    delivery.trigger, delivery.requested_by, delivery.attempts_made, delivery.uncounted_attempts,
    delivery.planned_at, delivery.due_by, delivery.merged_changes, delivery.is_unjudged, delivery.lease_token
"""  # noqa: S608 - made of constants


# Equals `claiming.claim_portably`.
# A limit that comes from a column is planned by PostgreSQL as a tenth of all that waits. With a million waiting it then
# reads the log instead of its index, and compiles the statement for half a second. So `at_most` is given as a number,
# and the outer limit keeps the rest of a subscription's capacity. The condition for ordered subscriptions is expensive
# even where there are none, so it is left out then.
CLAIM = _claiming()
CLAIM_IN_ORDER = _claiming(f"AND (NOT due_subscription.ordered OR {IS_NEXT})")


def claim(due: "Sequence[DueSubscription]", *, now: datetime, lease_until: datetime) -> list[Delivery]:
    """Claim up to the capacity of each; rows that another worker has locked are skipped."""
    ordered = [one.subscription.ordered for one in due]
    return instances(
        Delivery,
        CLAIM_IN_ORDER if any(ordered) else CLAIM,
        {
            "subscriptions": [one.subscription.pk for one in due],
            "triggers": [one.trigger for one in due],
            "capacities": [one.capacity for one in due],
            "ordered": ordered,
            "at_most": max(one.capacity for one in due),
            "now": now,
            "token": uuid.uuid4(),
            "lease_until": lease_until,
        },
        using=Delivery.objects.db,
    )
