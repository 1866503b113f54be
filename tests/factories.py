"""Plain functions that make the smallest row of each record; keywords set its fields."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.utils import timezone

from orderhooks import sending
from orderhooks.db import public_ids
from orderhooks.db.encrypted_fields import seal
from orderhooks.models import (
    Attempt,
    AttemptStats,
    Backfill,
    Delivery,
    Erasure,
    Event,
    FeedConsumer,
    Fulfillment,
    FulfillmentLine,
    ObjectiveStats,
    Order,
    OrderLine,
    Payment,
    Refund,
    Replay,
    Subscription,
)
from orderhooks.models.attempt_stats import bucket_of, hour_of
from orderhooks.models.objective_stats import HOURLY, begins_at
from orderhooks.reporting import Worker, start_text
from orderhooks.retention_periods import KINDS, Cutoffs
from orderhooks.sending import claiming

_numbers = count(1)

LINE = {"sku": "TEA-1", "name": "Green tea", "quantity": 2, "unit_price": "9.95"}


START_WORKER = start_text("manage.py qcluster")


def make_worker(at_work: bool, seen_at: datetime | None, sweep_due_at: datetime | None) -> Worker:
    """The worker of a project with django-q2."""
    return Worker(at_work, seen_at, sweep_due_at, "manage.py qcluster", "manage.py qcluster")


def make_order(lines: Sequence[Mapping[str, Any]] = (LINE,), **fields: Any) -> Order:
    """An order with its lines, each a mapping of fields laid over `LINE`. It publishes events like any other."""
    order = Order(**fields)
    order.save()
    for line in lines:
        OrderLine.objects.create(order=order, **{**LINE, **line})
    # Read again, so that amounts are what the database holds.
    order.refresh_from_db()
    return order


def make_quiet_order() -> Order:
    """An order whose own events are out of the way, in a store that somebody listens to."""
    make_subscription()
    order = make_order()
    Event.objects.all().delete()
    return order


def make_fulfillment(order: Order | None = None, quantity: int | None = None, **fields: Any) -> Fulfillment:
    """A fulfillment of all lines of the order, each in full or with this quantity, made in one transaction."""
    order = order or make_order()
    with transaction.atomic():
        fulfillment = Fulfillment.objects.create(order=order, **{"carrier": "DHL", "tracking_number": "X1", **fields})
        for line in order.lines.all():
            FulfillmentLine.objects.create(fulfillment=fulfillment, line=line, quantity=quantity or line.quantity)
    return fulfillment


def make_fulfillment_line() -> FulfillmentLine:
    """The line of a fulfillment of an order with one line."""
    return make_fulfillment().lines.get()


def make_payment(order: Order | None = None, **fields: Any) -> Payment:
    """A payment of 24.80 by card."""
    values: dict[str, Any] = {"amount": "24.80", "method": "card", "reference": "ch_1", **fields}
    return Payment.objects.create(order=order or make_order(), **values)


def make_refund(order: Order | None = None, **fields: Any) -> Refund:
    """A refund of 4.90 by card."""
    values: dict[str, Any] = {"amount": "4.90", "method": "card", "reference": "re_1", "reason": "late", **fields}
    return Refund.objects.create(order=order or make_order(), **values)


def make_subscription(**fields: Any) -> Subscription:
    """An active subscription to every topic, with one secret. Old enough for any event that a test makes.

    It is not validated: a row may be older than the settings that refuse its URL.
    """
    defaults: dict[str, Any] = {
        "name": f"Endpoint {next(_numbers)}",
        "url": "http://127.0.0.1:9/webhooks",
        "topics": ["*"],
        "created_at": timezone.now() - timedelta(days=30),
    }
    fields = {**defaults, **fields}
    subscription = Subscription(**{**fields, "headers": seal(fields.get("headers", {}))})
    subscription.save_base(force_insert=True)
    subscription.new_secret = subscription.add_secret()
    return subscription


def make_late_subscription() -> Subscription:
    """`CRM`, one of whose deliveries was later than its objective, so that its error budget is used up."""
    subscription = make_subscription(name="CRM", objective_seconds=60)
    begins = begins_at(timezone.now(), HOURLY)
    ObjectiveStats.objects.create(subscription=subscription, minutes=HOURLY, begins_at=begins, met=0, missed=1)
    return subscription


def make_event(**fields: Any) -> Event:
    """A published event of no order in particular, already routed, so that no pump makes deliveries of it."""
    now = timezone.now()
    topic = fields.get("topic", "order.paid")
    defaults: dict[str, Any] = {
        "topic": topic,
        "source": "orderhooks",
        "order_pk": "1",
        "order_number": "1001",
        "payload": {"order": {"number": "1001"}, "changes": {}},
        "occurred_at": now,
        "published_at": now,
        "routed_at": now,
    }
    return Event.objects.create(**{**defaults, **fields})


def make_event_at(moment: datetime, **fields: Any) -> Event:
    """An event of that time, which is also the time in its id."""
    times = dict.fromkeys(("occurred_at", "published_at", "routed_at"), moment)
    public_id = public_ids.earliest_at("evt_", moment)[:-16] + f"{next(_numbers):016d}"
    return make_event(**{**times, "public_id": public_id, **fields})


def make_failed_event(**fields: Any) -> Event:
    """An event whose payload could not be built."""
    return make_event(**{"payload": None, "published_at": None, "routed_at": None, "error": "ValueError: no", **fields})


def make_delivery(**fields: Any) -> Delivery:
    """A delivery that is due; its event and subscription are made unless given. A finished state gets `finished_at`."""
    now = timezone.now()
    state = fields.get("state", Delivery.State.PENDING)
    defaults: dict[str, Any] = {"next_attempt_at": now}
    if state == Delivery.State.SENDING:
        defaults |= {
            "lease_token": "00000000-0000-4000-8000-000000000000",
            "lease_expires_at": now + timedelta(minutes=1),
        }
    elif state != Delivery.State.PENDING:
        defaults = {"finished_at": now}
    if "event" not in fields:
        defaults["event"] = make_event()
    if "subscription" not in fields:
        defaults["subscription"] = make_subscription()
    return Delivery.objects.create(**{**defaults, **fields})


def make_delivery_at(moment: datetime, **fields: Any) -> Delivery:
    """A delivery that was made then, which is also the time in its id."""
    public_id = public_ids.earliest_at("dlv_", moment)[:-16] + f"{next(_numbers):016d}"
    delivery = make_delivery(**{"public_id": public_id, "next_attempt_at": moment, **fields})
    Delivery.objects.filter(pk=delivery.pk).update(created_at=moment)
    delivery.refresh_from_db()
    return delivery


def claim(limit: int = 1, *, now: datetime | None = None) -> list[Delivery]:
    """Claim up to `limit` due deliveries of each subscription, as a worker would, for half a minute."""
    now = now or timezone.now()
    due = claiming.due(now=now)
    for one in due:
        one.capacity = limit
    return claiming.claim(due, now=now, lease_until=now + timedelta(seconds=30))


def claim_one() -> Delivery:
    [delivery] = claim()
    return delivery


def send_due(now: datetime | None = None) -> int:
    """One round: claim all that is due, wait, record."""
    with sending.Sender(threads=4) as sender:
        return sender.claim(now=now or timezone.now())


def due_at(delivery: Delivery) -> datetime:
    """When its next attempt is due, which there has to be."""
    assert delivery.next_attempt_at is not None, f"the delivery is {delivery.state}"
    return delivery.next_attempt_at


def make_attempt(delivery: Delivery, **fields: Any) -> Attempt:
    """The next attempt of the delivery, which got 200."""
    started_at: datetime = timezone.now()
    defaults: dict[str, Any] = {
        "number": delivery.attempts.count() + 1,
        "trigger": Delivery.Trigger.AUTOMATIC,
        "started_at": started_at,
        "duration_ms": 12,
        "url": delivery.subscription.url,
        "status_code": 200,
        "request_headers": {"webhook-id": delivery.event.public_id},
        "response_headers": {"content-type": "text/plain"},
        "response_body": "thanks",
    }
    return Attempt.objects.create(delivery=delivery, **{**defaults, **fields})


def make_replay(**fields: Any) -> Replay:
    """A running replay of the last day."""
    now = timezone.now()
    defaults: dict[str, Any] = {"since": now - timedelta(days=1), "until": now}
    if "subscription" not in fields:
        defaults["subscription"] = make_subscription()
    replay = Replay(**{**defaults, **fields})
    replay.cursor = replay.cursor or replay.start()
    replay.save()
    return replay


def make_backfill(**fields: Any) -> Backfill:
    """A running backfill of all orders."""
    defaults: dict[str, Any] = {"topic": "order.updated", "source": "orderhooks", "rate": 1000}
    if "subscription" not in fields:
        defaults["subscription"] = make_subscription()
    return Backfill.objects.create(**{**defaults, **fields})


def make_erasure(**fields: Any) -> Erasure:
    """A finished erasure of one order, without a store."""
    order = {"source": "orderhooks", "order_pk": "1", "number": "1001", "store": fields.get("store", "")}
    defaults: dict[str, Any] = {"state": Erasure.State.FINISHED, "orders": [order], "orders_done": 1}
    if fields.get("state") != Erasure.State.RUNNING:
        defaults["finished_at"] = timezone.now()
    return Erasure.objects.create(**{**defaults, **fields})


def make_attempt_stats(
    subscription: Subscription, count: int = 1, *, at: datetime | None = None, **fields: Any
) -> AttemptStats:
    """`count` attempts of the hour of `at`, each of which got 200 after 12 ms."""
    hour = hour_of(at or timezone.now())
    defaults: dict[str, Any] = {"outcome": AttemptStats.Outcome.SUCCESS, "bucket": bucket_of(12)}
    return AttemptStats.objects.create(subscription=subscription, hour=hour, count=count, **{**defaults, **fields})


def make_user(*permissions: str, **fields: Any) -> User:
    """A user who holds exactly the named permissions of orderhooks, such as "view_order"."""
    user = User.objects.create_user(username=f"user {next(_numbers)}", **fields)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="orderhooks", codename__in=permissions))
    return user


def cutoffs_at(before: datetime) -> Cutoffs:
    """For pruning: the same time for all kinds of records."""
    return Cutoffs(dict.fromkeys(KINDS, before))


def make_consumer(**fields: Any) -> FeedConsumer:
    """A consumer of the feed that has read all that it has acknowledged."""
    defaults: dict[str, Any] = {"name": f"consumer-{next(_numbers)}", "read_up_to": fields.get("acknowledged", 0)}
    if "user" not in fields:
        defaults["user"] = make_user()
    return FeedConsumer.objects.create(**{**defaults, **fields})
