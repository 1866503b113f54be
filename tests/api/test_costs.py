"""What each GET of the API costs at its worst: bounded in queries and in size, however long the log is.

The log has 300 rows of each kind; with TEST_LOG_ROWS=200000 it has as many, and times and sizes are printed.
"""

import os
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern

from orderhooks.api.urls import documented
from orderhooks.models import Attempt, Delivery, Event, Order
from tests.api.calls import EVERYTHING, client_with
from tests.factories import (
    make_attempt,
    make_backfill,
    make_consumer,
    make_delivery,
    make_event,
    make_order,
    make_replay,
    make_subscription,
)

pytestmark = pytest.mark.django_db
ROWS = int(os.environ.get("TEST_LOG_ROWS", "300"))
MAX_RESPONSE_BYTES = 50_000_000
# A page reads its rows, what they refer to and the user; none of it for each row.
MOST_QUERIES = 20
# Two for each of its 50 newest events.
MORE_QUERIES = {"orders/{order}/webhooks/": 120, "orders/orderhooks/1/webhooks/": 120}
WIDE = "page_size=200"
NEVER = "order_number=none&topic=order.none&since=2000-01-01T00:00:00Z"

WORST = [
    f"orders/?{WIDE}",
    f"orders/?{WIDE}&number=none&ordering=created_at",
    "orders/{order}/",
    "orders/{order}/webhooks/",
    "orders/orderhooks/1/webhooks/",
    f"orders/{{order}}/fulfillments/?{WIDE}",
    f"orders/{{order}}/payments/?{WIDE}&ordering=id",
    f"orders/{{order}}/refunds/?{WIDE}",
    f"orders/digests/?{WIDE}",
    f"events/?{WIDE}",
    f"events/?{WIDE}&{NEVER}&ordering=sequence",
    f"events/?{WIDE}&after=0",
    f"events/?{WIDE}&after=0&subscription={{subscription}}",
    f"events/?{WIDE}&consumer=erp",
    "events/{event}/",
    f"consumers/?{WIDE}",
    "consumers/{consumer}/",
    "topics/",
    "topics/order.paid/",
    "topics/order.paid/schema/",
    f"subscriptions/?{WIDE}",
    f"subscriptions/?{WIDE}&name=none",
    "subscriptions/{subscription}/",
    "subscriptions/by-name/Worst/",
    "subscriptions/{subscription}/stats/?hours=744",
    f"subscriptions/{{subscription}}/missed/?{WIDE}&since=2000-01-01T00:00:00Z",
    "subscriptions/{subscription}/preview/?order=1&topic=order.paid",
    "subscriptions/{subscription}/version-diff/",
    f"deliveries/?{WIDE}",
    f"deliveries/?{WIDE}&{NEVER}&answered=5&state=failed&ordering=created_at",
    "deliveries/{delivery}/",
    f"deliveries/{{delivery}}/attempts/?{WIDE}",
    "deliveries/{delivery}/curl/",
    f"replays/?{WIDE}",
    "replays/{replay}/",
    f"backfills/?{WIDE}",
    "backfills/{backfill}/",
    "stats/?hours=744",
]


@pytest.fixture
def ids() -> dict[str, str]:
    subscription = make_subscription(name="Worst", url="https://crm.example/hooks")
    order, replay = make_order(number="1"), make_replay(subscription=subscription)
    for _ in range(250):
        make_subscription()
    event = make_event(order_pk=str(order.pk))
    delivery = make_delivery(event=event, subscription=subscription, state=Delivery.State.FAILED)
    for number in range(250):
        make_attempt(delivery, number=number + 1, response_body="x" * 4096)
    payload = {"order": {"number": "1", "note": "x" * 4096}, "changes": {}}
    for start in range(0, ROWS, 1000):
        some = range(start, min(start + 1000, ROWS))
        Order.objects.bulk_create(Order(number=f"n{number}", customer_name="x" * 200) for number in some)
        made = [
            Event(
                topic="order.paid",
                source="orderhooks",
                order_pk=str(order.pk),
                order_number="1",
                payload=payload,
                occurred_at=event.occurred_at,
                published_at=event.published_at,
                routed_at=event.routed_at,
                sequence=event.sequence + 1 + number,
            )
            for number in some
        ]
        Event.objects.bulk_create(made)
        Delivery.objects.bulk_create(
            Delivery(event=one, subscription=subscription, next_attempt_at=event.occurred_at) for one in made
        )
    consumer = make_consumer(name="behind")
    for _ in range(250):
        make_consumer(user=consumer.user)
    assert Attempt.objects.exists()
    return {
        "consumer": consumer.public_id,
        "subscription": subscription.public_id,
        "order": order.public_id,
        "event": event.public_id,
        "delivery": delivery.public_id,
        "replay": replay.public_id,
        "backfill": make_backfill(subscription=subscription).public_id,
    }


@pytest.mark.slow
def test_each_get_at_its_worst_is_bounded(ids):
    api = client_with(*EVERYTHING)
    for path in WORST:
        started = time.perf_counter()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = api.get(f"/api/{path.format(**ids)}")
        if "TEST_LOG_ROWS" in os.environ:
            print(
                f"{path} {time.perf_counter() - started:.2f} s {len(response.content):,} bytes {len(queries)} queries"
            )
        assert response.status_code == 200, path
        assert len(response.content) < MAX_RESPONSE_BYTES, path
        assert len(queries) <= MORE_QUERIES.get(path, MOST_QUERIES), path


def test_every_get_is_among_them():
    gets = 0
    for pattern in documented:
        assert isinstance(pattern, URLPattern)
        gets += "get" in getattr(pattern.callback, "actions", {})
    assert len({path.partition("?")[0] for path in WORST}) == gets
