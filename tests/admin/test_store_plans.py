"""PostgreSQL finds the rows of one store by indexes, for a user who sees that store alone."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.log import fill_log
from tests.admin.shops import SETTING, visitor
from tests.admin.test_log_plans import read_through

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="asks PostgreSQL for its plans; run with TEST_DATABASE=postgres"
    ),
    pytest.mark.slow,
    # One process fills the log, for all of them.
    pytest.mark.xdist_group("store_plans"),
]

DELIVERIES = 200_000
# Each tenth event and each fifth subscription is of Berlin. A delivery is of both.
IN_STORES = """
UPDATE orderhooks_event SET store = CASE WHEN sequence % 10 = 1 THEN 'berlin' ELSE 'paris' END;
UPDATE orderhooks_subscription SET store = CASE WHEN id % 5 = 1 THEN 'berlin' ELSE 'paris' END;
DELETE FROM orderhooks_attempt;
DELETE FROM orderhooks_delivery USING orderhooks_event, orderhooks_subscription
    WHERE sequence = event_id AND orderhooks_subscription.id = subscription_id
    AND orderhooks_event.store <> orderhooks_subscription.store;
"""


@pytest.fixture(scope="module")
def log_of_two_shops(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        fill_log(DELIVERIES)
        with connection.cursor() as cursor:
            for statement in filter(None, map(str.strip, IN_STORES.split(";"))):
                cursor.execute(statement)
            cursor.execute("VACUUM ANALYZE")
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE orderhooks_event, orderhooks_subscription CASCADE")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        *("dashboard/", "dashboard/?store=berlin", "subscription/", "event/", "event/?topic=order.returned"),
        *("event/?published=no", "delivery/", "delivery/?state__exact=failed", "delivery/?topic=order.paid"),
        *("delivery/?since=24h", "delivery/?q=1001"),
    ],
)
def test_a_page_of_one_store_reads_no_table_of_the_log_through(log_of_two_shops, settings, address):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    client = visitor("berlin")
    client.get(f"/admin/orderhooks/{address}")
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"/admin/orderhooks/{address}").status_code == 200
    statements = [query["sql"] for query in captured if query["sql"].startswith(("SELECT", "WITH"))]
    for sql in [sql for sql in statements if "orderhooks_" in sql]:
        assert read_through(sql) == []
    assert len(captured) < 30
