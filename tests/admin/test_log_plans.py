"""PostgreSQL finds the rows of the log's pages by indexes, with any filter. It never reads a whole table of the log."""

import re
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.log import fill_log
from orderhooks.models import Delivery

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="asks PostgreSQL for its plans; run with TEST_DATABASE=postgres"
    ),
    pytest.mark.slow,
    # One process fills the log, for all of them.
    pytest.mark.xdist_group("log_plans"),
]

# Fewer, and PostgreSQL rightly reads a small table rather than its index.
DELIVERIES = 200_000
READ_THROUGH = re.compile(r"Seq Scan on orderhooks_(delivery|event|attempt)\b")


@pytest.fixture(scope="module")
def busy_log(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    """The log that the benchmarks have; gone when the module is done."""
    with django_db_blocker.unblock():
        fill_log(DELIVERIES)
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE orderhooks_event, orderhooks_subscription CASCADE")


PAGES = [
    "delivery/",
    "delivery/?p=100",
    *(f"delivery/?state__exact={state}" for state in (*Delivery.State.values, "held")),
    *(f"delivery/?response={response}" for response in ("2xx", "3xx", "4xx", "5xx", "none")),
    *(f"delivery/?failure={kind}" for kind in ("timeout", "login")),
    *(f"delivery/?since={since}" for since in ("1h", "24h", "7d", "2020-01-01T00:00")),
    *(f"delivery/?topic={topic}" for topic in ("order.paid", "order.returned", "webhook.test")),
    "delivery/?subscription__id__exact={subscription}",
    "delivery/?state__exact=failed&topic=order.paid",
    "delivery/?state__exact=failed&subscription__id__exact={subscription}",
    "delivery/?response=5xx&since=24h",
    "delivery/?topic=order.paid&since=7d&state__exact=failed&response=5xx&subscription__id__exact={subscription}",
    "delivery/?q={order}",
    "delivery/?q={order}&state__exact=failed",
    "delivery/?q={delivery}",
    "delivery/?q={event}",
    "delivery/?q=none",
    "delivery/?event__exact={sequence}",
    "delivery/{key}/change/",
    "event/",
    "event/?topic=order.returned",
    "event/?published=no",
    "event/?published=yes",
    "event/?q={order}",
    "event/{sequence}/change/",
]


@pytest.mark.django_db
@pytest.mark.parametrize("address", PAGES)
def test_a_page_reads_no_table_of_the_log_through(busy_log, operator, address):
    delivery = Delivery.objects.select_related("event").filter(state="failed")[10]
    path = address.format(
        subscription=delivery.subscription_id,
        order=delivery.event.order_number,
        delivery=delivery.public_id,
        event=delivery.event.public_id,
        sequence=delivery.event_id,
        key=delivery.pk,
    )
    operator.get(f"/admin/orderhooks/{path}")
    with CaptureQueriesContext(connection) as captured:
        assert operator.get(f"/admin/orderhooks/{path}").status_code == 200
    statements = [
        query["sql"] for query in captured if "orderhooks_" in query["sql"] and query["sql"].startswith("SELECT")
    ]
    assert statements
    for sql in statements:
        assert read_through(sql) == []
    assert len(captured) < 25


@pytest.mark.django_db
def test_an_ordered_delivery_finds_what_it_waits_for_by_index(busy_log, operator):
    delivery = Delivery.objects.select_related("event", "subscription").filter(state="failed")[10]
    delivery.subscription.ordered = True
    for rows in (delivery.blockers(), delivery.held_up()):
        assert read_through(rows.query) == []


@pytest.mark.django_db
def test_reading_through_is_noticed(busy_log):
    assert read_through(Delivery.objects.filter(last_detail="x").query) != []


def read_through(query) -> list[str]:
    """The lines of its plan that read a table of the log through, and the plan if there are any."""
    with connection.cursor() as cursor:
        if isinstance(query, str):
            cursor.execute("EXPLAIN " + query)
        else:
            sql, parameters = query.sql_with_params()
            cursor.execute("EXPLAIN " + sql, parameters)
        plan = [line for (line,) in cursor.fetchall()]
    # What contradicts itself (delivered and failed) is planned so, and never run.
    guarded = zip(plan, ["", *plan], strict=False)
    bad = [line for line, before in guarded if READ_THROUGH.search(line) and "One-Time Filter: false" not in before]
    return [*bad, str(query), *plan] if bad else []
