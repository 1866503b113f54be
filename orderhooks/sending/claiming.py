"""How workers share deliveries out: which subscriptions have some due, claims with their lease, results by its holder.

# Note [Claims]
A claim goes lane by lane, a lane being what one subscription has due: its head is found by index, so that a million
waiting for one endpoint slow nobody's claim. Rows that another worker holds are skipped, never waited for. A
subscription with a limit that goes for all workers together is locked while the rooms of its lanes are counted; the
others need no lock, as their share is each worker's own affair.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery, prefetch_related_objects
from django.db.models.query import QuerySet

from orderhooks.db.locks import brief_transaction
from orderhooks.models.deliveries import Attempt, Delivery, DeliveryQuerySet
from orderhooks.models.events import Event
from orderhooks.models.subscriptions import Subscription

__all__ = ["Lane", "Result", "claim", "due_lanes", "due_subscriptions", "finish", "release"]

LANES_AT_ONCE = 500


@dataclass(slots=True)
class Lane:
    """What one subscription has due: by the retry table, or because a person asked. `room`: how many to claim."""

    subscription: Subscription
    trigger: str
    room: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt makes of its delivery: the columns of both, `attempt` without the delivery and its number."""

    delivery: Delivery
    state: str
    trigger: str
    requested_by: str
    next_attempt_at: datetime | None
    uncounted_attempts: int
    finished_at: datetime | None
    last_status_code: int | None
    last_error: str
    last_detail: str
    attempt: Mapping[str, Any] = field(repr=False)

    @property
    def lease(self) -> "Lease":
        """Whose result it is: a worker that was stopped may come by two claims of one delivery."""
        return self.delivery.pk, self.delivery.lease_token

    def verdict(self) -> dict[str, Any]:
        """The delivery's columns."""
        return {name: getattr(self, name) for name in VERDICT}


# A delivery's primary key and the token of one claim of it.
Lease = tuple[int, uuid.UUID | None]

VERDICT = (
    "state",
    "trigger",
    "requested_by",
    "next_attempt_at",
    "uncounted_attempts",
    "finished_at",
    "last_status_code",
    "last_error",
    "last_detail",
)


def due_subscriptions(trigger: str, *, now: datetime) -> QuerySet[Subscription]:
    """Those that have deliveries to send now, whose head has waited longest first; ordered ones maybe not just now."""
    head = Delivery.objects.filter(
        subscription=OuterRef("pk"), trigger=trigger, state=Delivery.State.PENDING, next_attempt_at__lte=now
    ).order_by("next_attempt_at", "id")
    # A subquery with a LIMIT is a look into the index for each subscription; EXISTS may become a scan of the log.
    chosen = Subscription.objects.filter(state=Subscription.State.ACTIVE)
    if trigger == Delivery.Trigger.AUTOMATIC:
        chosen = chosen.filter(Q(circuit_open_until=None) | Q(circuit_open_until__lte=now))
    heads = chosen.alias(head=Subquery(head.values("next_attempt_at")[:1]))
    return heads.filter(head__isnull=False).order_by("head")


def due_lanes(*, now: datetime) -> list[Lane]:
    """What could be claimed, what people asked for first. Each subscription comes with its secrets.

    What an ordered subscription must not get yet is not due: else it would take the turns of others.
    """
    if connections[Delivery.objects.db].vendor == "postgresql":
        due = list(Subscription.objects.raw(DUE, {"now": now, "most": LANES_AT_ONCE}))
        prefetch_related_objects(due, "secrets")
        return [Lane(subscription, vars(subscription)["due_trigger"]) for subscription in due]
    lanes = [
        Lane(subscription, trigger)
        for trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.AUTOMATIC)
        for subscription in due_subscriptions(trigger, now=now).prefetch_related("secrets")[:LANES_AT_ONCE]
    ]
    # Asked apart, as it takes Django four times as long to build this query as the other.
    return [lane for lane in lanes if not lane.subscription.ordered or _due(lane, now=now).unblocked().exists()]


# What `DeliveryQuerySet.unblocked` says of a `delivery`.
IS_NEXT = """NOT EXISTS (
    SELECT FROM orderhooks_event mine
    JOIN orderhooks_event other USING (source, order_pk)
    LEFT JOIN orderhooks_delivery owed
        ON owed.event_id = other.sequence AND owed.subscription_id = delivery.subscription_id
    WHERE mine.sequence = delivery.event_id AND CASE
        WHEN other.sequence < mine.sequence THEN owed.state IN ('pending', 'sending', 'failed')
            OR other.routed_at IS NULL AND other.published_at IS NOT NULL
        WHEN other.sequence > mine.sequence THEN owed.state = 'sending'
    END
)"""
# What `due_subscriptions` says, for both triggers at once. Written out, since building the query takes Django several
# times as long as PostgreSQL takes to answer it, and every pump asks it before each claim.
DUE = f"""
SELECT subscription.*, lane.trigger AS due_trigger
FROM (VALUES ('manual', 1), ('automatic', 2)) AS lane (trigger, turn)
CROSS JOIN orderhooks_subscription subscription
CROSS JOIN LATERAL (
    SELECT delivery.next_attempt_at FROM orderhooks_delivery delivery
    WHERE delivery.subscription_id = subscription.id AND delivery.trigger = lane.trigger
        AND delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
        AND (NOT subscription.ordered OR {IS_NEXT})
    ORDER BY delivery.next_attempt_at, delivery.id
    LIMIT 1
) head
WHERE subscription.state = 'active'
    AND (lane.trigger = 'manual'
        OR subscription.circuit_open_until IS NULL OR subscription.circuit_open_until <= %(now)s)
ORDER BY lane.turn, head.next_attempt_at
LIMIT %(most)s
"""  # noqa: S608 - made of constants


def claim(lanes: Sequence[Lane], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    """Take what the lanes have room for: lease, fencing token, and the attempt counted before it is made.

    The deliveries come with their events and with the lanes' subscriptions.
    """
    limited = {lane.subscription.pk for lane in lanes if lane.subscription.is_limited}
    if not limited:
        return _claim(lanes, now=now, lease_until=lease_until)
    with brief_transaction(Delivery.objects.db):
        locked, in_flight = _lock(limited)
        claimed: list[Delivery] = []
        # One kind after the other: what can't be taken, as its order's turn has not come, leaves its room to the rest.
        for trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.AUTOMATIC):
            turn = [lane for lane in lanes if lane.trigger == trigger]
            for lane in turn:
                if (key := lane.subscription.pk) in limited:
                    lane.room = min(lane.room, _room(lane, locked.get(key), in_flight[key], now=now))
            taken = _claim(turn, now=now, lease_until=lease_until)
            for key, count in Counter(delivery.subscription_id for delivery in taken).items():
                in_flight[key] += count
                if key in locked:
                    locked[key].spend(count, now=now)
            claimed += taken
    return claimed


def _lock(limited: Iterable[int]) -> tuple[dict[int, Subscription], Counter[int]]:
    """Those of these subscriptions that nobody else has locked, and what is in flight to each."""
    features = connections[Delivery.objects.db].features
    locked = Subscription.objects.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked, no_key=features.has_select_for_no_key_update
    ).in_bulk(limited)
    in_flight = dict(
        Delivery.objects.filter(state=Delivery.State.SENDING, subscription__in=list(locked))
        .values_list("subscription")
        .annotate(Count("pk"))
        .order_by()
    )
    return locked, Counter(in_flight)


def _room(lane: Lane, locked: Subscription | None, in_flight: int, *, now: datetime) -> int:
    if locked is None:
        return 0  # another worker is claiming from it at this moment; its turn is the next time
    return locked.capacity(in_flight, by_hand=lane.trigger == Delivery.Trigger.MANUAL, now=now)


def _claim(lanes: Sequence[Lane], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    open_lanes = [lane for lane in lanes if lane.room > 0]
    if not open_lanes:
        return []
    take = _claim_at_once if connections[Delivery.objects.db].vendor == "postgresql" else _claim_one_by_one
    claimed = take(open_lanes, now=now, lease_until=lease_until)
    subscriptions = {lane.subscription.pk: lane.subscription for lane in open_lanes}
    # Without what sending does not read; a signal's receiver that does fetches it.
    events = Event.objects.defer("changes", "error", "published_at", "routed_at").in_bulk(
        {delivery.event_id for delivery in claimed}
    )
    for delivery in claimed:
        delivery.subscription = subscriptions[delivery.subscription_id]
        delivery.event = events[delivery.event_id]
    return sorted(claimed, key=lambda delivery: (delivery.trigger == Delivery.Trigger.AUTOMATIC, delivery.pk))


def _due(lane: Lane, *, now: datetime) -> DeliveryQuerySet:
    return Delivery.objects.filter(
        subscription=lane.subscription,
        trigger=lane.trigger,
        state=Delivery.State.PENDING,
        next_attempt_at__lte=now,
    )


def _claim_one_by_one(lanes: Sequence[Lane], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    token = uuid.uuid4()
    deliveries = Delivery.objects
    skip_locked = connections[deliveries.db].features.has_select_for_update_skip_locked
    with transaction.atomic(using=deliveries.db):
        keys: list[int] = []
        for lane in lanes:
            rows = _due(lane, now=now).order_by("next_attempt_at", "id")
            if lane.subscription.ordered:
                rows = rows.unblocked()
            keys += rows.select_for_update(skip_locked=skip_locked).values_list("pk", flat=True)[: lane.room]
        # Where nothing can be locked, the condition again: what another worker has claimed meanwhile is not pending.
        deliveries.filter(pk__in=keys, state=Delivery.State.PENDING, next_attempt_at__lte=now).update(
            state=Delivery.State.SENDING,
            attempts_made=F("attempts_made") + 1,
            lease_token=token,
            lease_expires_at=lease_until,
        )
    return list(deliveries.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token))


def _claiming(condition: str = "") -> str:
    return f"""
WITH lane AS (
    SELECT * FROM unnest(%(subscriptions)s::bigint[], %(triggers)s::text[], %(rooms)s::int[], %(ordered)s::bool[])
    AS lane (subscription_id, trigger, room, ordered)
), due AS MATERIALIZED (
    SELECT head.id FROM lane CROSS JOIN LATERAL (
        SELECT first.id FROM (
            SELECT delivery.id FROM orderhooks_delivery delivery
            WHERE delivery.subscription_id = lane.subscription_id AND delivery.trigger = lane.trigger
                AND delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
                {condition}
            ORDER BY delivery.next_attempt_at, delivery.id
            LIMIT %(most)s
            FOR NO KEY UPDATE SKIP LOCKED
        ) first
        LIMIT lane.room
    ) head
)
UPDATE orderhooks_delivery delivery
SET state = 'sending', attempts_made = attempts_made + 1, lease_token = %(token)s, lease_expires_at = %(lease_until)s
FROM due WHERE delivery.id = due.id
RETURNING delivery.id, delivery.public_id, delivery.event_id, delivery.subscription_id, delivery.state,
    delivery.trigger, delivery.requested_by, delivery.attempts_made, delivery.uncounted_attempts,
    delivery.planned_at, delivery.lease_token
"""  # noqa: S608 - made of constants


# PostgreSQL takes a limit that it does not know for a tenth of all that waits. With a million that makes it read the
# log in place of its index, and compile the statement for half a second: so it is told `most`, and the outer limit
# keeps it from locking more than a lane has room for. What ordered lanes ask has its price where there are none, too.
CLAIM = _claiming()
CLAIM_IN_ORDER = _claiming(f"AND (NOT lane.ordered OR {IS_NEXT})")


def _claim_at_once(lanes: Sequence[Lane], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    """One statement, which PostgreSQL ends by itself: a worker that is stopped in the middle of it locks nothing."""
    ordered = [lane.subscription.ordered for lane in lanes]
    rows = Delivery.objects.raw(
        CLAIM_IN_ORDER if any(ordered) else CLAIM,
        {
            "subscriptions": [lane.subscription.pk for lane in lanes],
            "triggers": [lane.trigger for lane in lanes],
            "rooms": [lane.room for lane in lanes],
            "ordered": ordered,
            "most": max(lane.room for lane in lanes),
            "now": now,
            "token": uuid.uuid4(),
            "lease_until": lease_until,
        },
    )
    return list(rows)


def release(deliveries: Iterable[Delivery]) -> None:
    """Give claims back that were not begun: due as before, and no attempt counted."""
    for token, keys in _by_token(deliveries).items():
        Delivery.objects.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token).update(
            state=Delivery.State.PENDING,
            attempts_made=F("attempts_made") - 1,
            lease_token=None,
            lease_expires_at=None,
        )


def finish(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Write results down, each if its lease is still held. Returns those written, and those to be tried again later,
    since somebody else has locked their row; the rest came too late.
    """
    if not results:
        return [], []
    write = _finish_at_once if connections[Delivery.objects.db].vendor == "postgresql" else _finish_one_by_one
    written = write(results)
    done = [result for result in results if result.lease in written]
    if len(done) == len(results):
        return done, []
    missing = [result for result in results if result.lease not in written]
    held = _held([result.delivery for result in missing])
    return done, [result for result in missing if result.lease in held]


def _finish_one_by_one(results: Sequence[Result]) -> set[Lease]:
    with transaction.atomic(using=Delivery.objects.db):
        written = _held([result.delivery for result in results], lock=True)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for result in results:
            if result.lease in written:
                alike.setdefault(tuple(result.verdict().values()), []).append(result.delivery.pk)
        for verdict, keys in alike.items():
            Delivery.objects.filter(pk__in=keys).update(
                lease_token=None, lease_expires_at=None, planned_at=None, **dict(zip(VERDICT, verdict, strict=True))
            )
        Attempt.objects.bulk_create(
            Attempt(delivery=result.delivery, number=result.delivery.attempts_made, **result.attempt)
            for result in results
            if result.lease in written
        )
    return written


def _held(deliveries: Sequence[Delivery], *, lock: bool = False) -> set[Lease]:
    held: set[Lease] = set()
    skip_locked = connections[Delivery.objects.db].features.has_select_for_update_skip_locked
    for token, keys in _by_token(deliveries).items():
        rows = Delivery.objects.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token)
        if lock:
            rows = rows.select_for_update(skip_locked=skip_locked)
        held.update((pk, token) for pk in rows.values_list("pk", flat=True))
    return held


def _by_token(deliveries: Iterable[Delivery]) -> dict[uuid.UUID | None, list[int]]:
    keys: dict[uuid.UUID | None, list[int]] = {}
    for delivery in deliveries:
        keys.setdefault(delivery.lease_token, []).append(delivery.pk)
    return keys


FINISH = """
WITH result AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS result (
        id bigint, token uuid,
        state text, trigger text, requested_by text, next_attempt_at timestamptz, uncounted_attempts int,
        finished_at timestamptz,
        last_status_code int, last_error text, last_detail text,
        number int, attempt jsonb
    )
), held AS MATERIALIZED (
    SELECT delivery.id, delivery.lease_token AS token FROM orderhooks_delivery delivery
    JOIN result ON delivery.id = result.id AND delivery.lease_token = result.token
    WHERE delivery.state = 'sending'
    FOR NO KEY UPDATE OF delivery SKIP LOCKED
), finished AS (
    UPDATE orderhooks_delivery delivery
    SET state = result.state, trigger = result.trigger, requested_by = result.requested_by,
        next_attempt_at = result.next_attempt_at, uncounted_attempts = result.uncounted_attempts, planned_at = NULL,
        finished_at = result.finished_at,
        last_status_code = result.last_status_code, last_error = result.last_error, last_detail = result.last_detail,
        lease_token = NULL, lease_expires_at = NULL
    FROM result JOIN held USING (id, token) WHERE delivery.id = result.id
), attempted AS (
    INSERT INTO orderhooks_attempt (
        delivery_id, number, trigger, requested_by, started_at, duration_ms, method, url, status_code, error, detail,
        request_headers, response_headers, response_body
    )
    SELECT result.id, result.number, attempt.trigger, attempt.requested_by, attempt.started_at, attempt.duration_ms,
        attempt.method, attempt.url, attempt.status_code, attempt.error, attempt.detail, attempt.request_headers,
        attempt.response_headers,
        attempt.response_body
    FROM result JOIN held USING (id, token) CROSS JOIN LATERAL jsonb_to_record(result.attempt) AS attempt (
        trigger text, requested_by text, started_at timestamptz, duration_ms int, method text, url text,
        status_code int, error text, detail text, request_headers jsonb, response_headers jsonb, response_body text
    )
)
SELECT id, token FROM held
"""


def _finish_at_once(results: Sequence[Result]) -> set[Lease]:
    rows = [
        {
            "id": result.delivery.pk,
            "token": result.delivery.lease_token,
            "number": result.delivery.attempts_made,
            "attempt": result.attempt,
            **result.verdict(),
        }
        for result in results
    ]
    with connections[Delivery.objects.db].cursor() as cursor:
        cursor.execute(FINISH, [json.dumps(rows, cls=DjangoJSONEncoder)])
        return set(cursor.fetchall())
