"""The processes of a soak: a worker, a shop, an operator who tidies up, and what the database shows."""

import json
import sys
import time
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from benchmarks.turns import wait_for_go
from orderhooks import operations, retention
from orderhooks.models import Delivery, Order
from orderhooks.retention_periods import KINDS, Cutoffs

ORDERS = 200
PRUNE_EACH_SECONDS = 10.0
VACUUM_EACH_SECONDS = 30.0


def work() -> None:
    """A worker as a project without a task queue runs it; until SIGTERM."""
    wait_for_go()
    call_command("orderhooks_work", stdout=sys.stderr)


def save_orders(per_second: float) -> None:
    """Change one of some orders at a steady pace, for ever."""
    orders = [Order.objects.create(customer_name="Ada Byron", total="24.80", note="x" * 800) for _ in range(ORDERS)]
    wait_for_go()
    began, number = time.monotonic(), 0
    while True:
        order = orders[number % ORDERS]
        order.customer_phone = str(number)
        order.save()
        number += 1
        # What it is late by is not made up for.
        began = max(began, time.monotonic() - number / per_second)
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))


def prune_always(keep_seconds: float) -> None:
    """Delete what is older, as `orderhooks_prune` does, for ever; skip what has waited longer, as an operator would.

    On a server whose autovacuum is off it vacuums as well.
    """
    wait_for_go()
    with connection.cursor() as cursor:
        cursor.execute("SHOW autovacuum")
        vacuums = cursor.fetchone() == ("off",)
    vacuumed_at = time.monotonic()
    while True:
        before = timezone.now() - timedelta(seconds=keep_seconds)
        operations.skip(Delivery.objects.filter(state="pending", created_at__lt=before))
        while retention.prune(before=Cutoffs(dict.fromkeys(KINDS, before))):
            pass
        if vacuums and time.monotonic() > vacuumed_at + VACUUM_EACH_SECONDS:
            with connection.cursor() as cursor:
                cursor.execute("VACUUM")
            vacuumed_at = time.monotonic()
        time.sleep(PRUNE_EACH_SECONDS)


def sample(healthy: list[int]) -> None:
    """For each line that is read, print what the database shows, as JSON."""
    wait_for_go()
    for line in sys.stdin:
        print(json.dumps(_sample(healthy, float(line))), flush=True)


def _sample(healthy: list[int], seconds: float) -> dict[str, Any]:
    """Of the last seconds; `healthy`: the subscriptions whose latency counts."""
    with connection.cursor() as cursor:
        cursor.execute(SAMPLE, {"healthy": healthy, "seconds": seconds})
        columns = [column.name for column in cursor.description]
        return {name: _plain(value) for name, value in zip(columns, cursor.fetchone(), strict=True)}


def _plain(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


# A delivery to a healthy endpoint: from the order's commit to the response. Dead rows are those that vacuum may reuse.
SAMPLE = """
WITH latest AS (
    SELECT extract(epoch FROM attempt.started_at - event.occurred_at) * 1000 + attempt.duration_ms AS ms
    FROM orderhooks_attempt attempt
    JOIN orderhooks_delivery delivery ON delivery.id = attempt.delivery_id
    JOIN orderhooks_event event ON event.sequence = delivery.event_id
    WHERE attempt.started_at > clock_timestamp() - make_interval(secs => %(seconds)s) AND attempt.number = 1
        AND delivery.subscription_id = ANY (%(healthy)s)
), tables AS (
    SELECT sum(pg_total_relation_size(relid)) AS bytes, sum(n_dead_tup) AS dead, sum(n_live_tup) AS live
    FROM pg_stat_user_tables WHERE relname LIKE 'orderhooks%%'
)
SELECT
    (SELECT count(*) FROM latest) / %(seconds)s AS healthy_per_second,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM latest) AS p50_ms,
    (SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FROM latest) AS p99_ms,
    (SELECT count(*) FROM orderhooks_delivery
        WHERE state IN ('pending', 'sending') AND subscription_id = ANY (%(healthy)s)) AS healthy_backlog,
    (SELECT count(*) FROM orderhooks_delivery WHERE state IN ('pending', 'sending')) AS backlog,
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
    tables.bytes / 1e6 AS tables_mb,
    100.0 * tables.dead / greatest(tables.dead + tables.live, 1) AS dead_percent
FROM tables
"""
