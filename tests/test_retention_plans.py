"""PostgreSQL finds what is to be pruned by indexes: no statement of pruning reads a table of the log through."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.log import fill_log
from orderhooks import retention, retention_periods
from orderhooks.models import Attempt, Delivery, Event, LatestSequence, OrderDigest, Receipt

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="asks PostgreSQL for its plans; run with TEST_DATABASE=postgres"
    ),
    pytest.mark.slow,
]

DELIVERIES = 60_000
OTHER_ROWS = 30_000
TABLES = "delivery|event|attempt|receipt|latestsequence|orderdigest|attemptstats|idempotentrequest"
READ_THROUGH = re.compile(rf"Seq Scan on orderhooks_({TABLES})\b")
# As in a shop that prunes each day, a small part is old.
OTHERS = [
    """INSERT INTO orderhooks_receipt (receiver, webhook_id, received_at)
        SELECT '', 'evt_' || n, now() - interval '90 days' * (1 - n::float / %(rows)s)
        FROM generate_series(1, %(rows)s) n""",
    """INSERT INTO orderhooks_latestsequence (receiver, "order", sequence, updated_at)
        SELECT '', n::text, n, now() - interval '63 days' * random() FROM generate_series(1, %(rows)s) n""",
    """INSERT INTO orderhooks_orderdigest (source, order_pk, order_id, order_number, store, sequence,
            published_at, digest)
        SELECT 'orderhooks', n::text, '', '', '', 0, now() - interval '100 days' * random(),
            CASE WHEN n %% 5 = 0 THEN '' ELSE md5(n::text) END FROM generate_series(1, %(rows)s) n""",
    """INSERT INTO orderhooks_attemptstats (subscription_id, hour, outcome, bucket, count)
        SELECT (SELECT min(id) FROM orderhooks_subscription) + n %% 200,
            date_trunc('hour', now() - interval '1 hour' * (n / 200)), '2xx', 7, 1
        FROM generate_series(1, %(rows)s) n""",
    """INSERT INTO orderhooks_idempotentrequest (user_id, key_digest, fingerprint, status_code, response, headers,
            created_at)
        SELECT (SELECT min(id) FROM auth_user), md5(n::text), '', 200, '', '{}',
            now() - interval '25 hours' * (1 - n::float / %(rows)s) FROM generate_series(1, %(rows)s) n""",
]


@pytest.fixture
def busy_log(transactional_db: None, django_user_model) -> None:
    django_user_model.objects.create_user(username="ada")
    fill_log(DELIVERIES)
    with connection.cursor() as cursor:
        for statement in OTHERS:
            cursor.execute(statement, {"rows": OTHER_ROWS})
        # So that the digests are up to date, as they are in a shop that prunes each day.
        cursor.execute("UPDATE orderhooks_orderdigest SET sequence = (SELECT max(sequence) FROM orderhooks_event)")
        cursor.execute("VACUUM ANALYZE")


def test_pruning_reads_no_table_of_the_log_through(busy_log, monkeypatch) -> None:
    # Of smaller tables, a batch of a thousand rows is a large part.
    monkeypatch.setattr(retention, "AT_ONCE", 200)
    periods = retention_periods.of(
        {"attempt_bodies": 20, "attempts": 60, "deliveries": 70, "events": 80, "receipts": 60, "statistics": 6}
    )
    before = periods.cutoffs(now=timezone.now())
    # A day's work is behind it: bodies that are blank already, the oldest rows gone.
    for _ in range(3):
        retention.prune(before=before)
    counts = {model: model._base_manager.count() for model in PRUNED}
    with CaptureQueriesContext(connection) as captured:
        assert retention.prune(before=before) > 1500
    assert [model for model, count in counts.items() if model._base_manager.count() == count] == []
    statements = [query["sql"] for query in captured if re.match("SELECT|UPDATE|DELETE", query["sql"])]
    # What pruning deletes and blanks is planned as well as what it looks for.
    assert {sql.split()[0] for sql in statements} == {"SELECT", "UPDATE", "DELETE"}
    for sql in statements:
        if "orderhooks_" in sql:
            assert read_through(sql) == []


def test_reading_through_is_noticed(busy_log) -> None:
    assert read_through("SELECT * FROM orderhooks_attempt WHERE response_body <> ''") != []


PRUNED = (Attempt, Delivery, Event, Receipt, LatestSequence, OrderDigest)


def read_through(sql: str) -> list[str]:
    """The lines of a statement's plan that read a table of the log through, and the plan if there are any."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + sql)
        plan = [line for (line,) in cursor.fetchall()]
    bad = [line for line in plan if READ_THROUGH.search(line)]
    return [*bad, sql[:2000], *plan] if bad else []
