"""What the pages ask a PostgreSQL with a long log: no query reads a table of it from end to end."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import operations, replaying
from orderhooks.models import Delivery, Order, Subscription
from orderhooks.reporting.objectives import objectives
from tests.admin.filling import fill
from tests.admin.visits import page
from tests.factories import make_event

DELIVERIES = 100_000
LOG = re.compile(r"Seq Scan on (orderhooks_(?:delivery|attempt|event|attemptstats))\b")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("plans are PostgreSQL's; run with TEST_DATABASE=postgres")


def scans(work: Callable[[], object]) -> list[tuple[str, str]]:
    """Which table of the log is read from end to end, and by which query."""
    with CaptureQueriesContext(connection) as captured:
        work()
    statements = [query["sql"] for query in captured if query["sql"].startswith(("SELECT", "UPDATE"))]
    queries = [query for query in statements if "orderhooks_" in query]
    assert queries, "no query of the log"
    found = []
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            found += [(table, query) for table in LOG.findall(plan)]
    return found


def test_nothing_reads_the_log_from_end_to_end(operator) -> None:
    fill(DELIVERIES)
    order, subscription = Order.objects.order_by("-pk")[0], Subscription.objects.order_by("pk")[0]
    month = timezone.now() - timedelta(days=30)
    paths = ["dashboard/", "subscription/", "order/", f"order/{order.pk}/change/", f"dashboard/order/?number={order}"]
    work: list[Callable[[], object]] = [partial(page, operator, path) for path in paths]
    for only in ("all", "failed", "never_sent"):
        for topics in ([], ["order.paid"], ["order.*"]):
            operations.replay(subscription, since=month, only=only, topics=topics)
            options: dict[str, Any] = {"since": month, "only": only, "topics": topics}
            work.append(partial(operations.preview_replay, subscription, **options))
    work.append(lambda: replaying.process_batch(now=timezone.now()))
    for one in work:
        assert scans(one) == []


def test_objectives_read_what_is_overdue_alone(operator) -> None:
    fill(DELIVERIES)
    now = timezone.now()
    Subscription.objects.update(objective_seconds=60)
    subscriptions = list(Subscription.objects.order_by("pk")[:3])
    for one in subscriptions:
        keys = one.deliveries.order_by("-pk").values_list("pk", flat=True)[:200]
        Delivery.objects.filter(pk__in=list(keys)).update(
            due_by=now - timedelta(minutes=30), state="pending", next_attempt_at=now, finished_at=None
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orderhooks_delivery")
    assert scans(lambda: objectives(Subscription.objects.all(), now=now)) == []
    found = objectives(subscriptions, now=now)
    assert {one.counts["1h"].missed for one in found.values()} == {200}
    for path in ("dashboard/", "subscription/", f"subscription/{subscriptions[0].pk}/change/"):
        assert scans(partial(page, operator, path)) == []


def test_a_query_that_does_is_found() -> None:
    event = make_event(error="a rare word")
    [(table, query)] = scans(lambda: list(type(event).objects.filter(error="a rare word")))
    assert table == "orderhooks_event"
    assert "a rare word" in query
