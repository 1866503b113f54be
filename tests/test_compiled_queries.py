"""Queries that are compiled once give the rows that the QuerySet gives."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.compiled_queries import MOST_KEYS, CompiledInsert, CompiledQuery, instances
from orderhooks.db import DatabaseNow
from orderhooks.models import Change, Delivery, Event, Subscription
from tests.factories import make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(microsecond=0)


def values(row: models.Model) -> dict[str, Any]:
    """All fields; those that were not read are left out."""
    deferred = row.get_deferred_fields()
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.attname not in deferred
    }


@pytest.mark.parametrize(
    "rows",
    [
        lambda: Event.objects.order_by("pk"),
        lambda: Event.objects.only("topic", "payload", "occurred_at").order_by("-pk"),
        lambda: Event.objects.defer("payload").filter(topic__startswith="order.p").order_by("pk")[:2],
        lambda: Delivery.objects.order_by("pk"),
        lambda: Subscription.objects.order_by("pk"),
        lambda: Subscription.objects.filter(name="none").order_by("pk"),
    ],
    ids=["all", "only", "a part", "deliveries", "subscriptions", "none"],
)
def test_it_reads_what_the_queryset_reads(rows: Any) -> None:
    for topic in ("order.paid", "order.placed", "order.created"):
        event = make_event(topic=topic, payload={"order": {"number": "\u00e41"}}, occurred_at=NOW, published_at=NOW)
        make_delivery(event=event, subscription=make_subscription(topics=[topic], headers={"x-key": "1"}))
    query = CompiledQuery(rows)
    for _ in range(2):
        found = query.all(using="default")
        assert [values(row) for row in found] == [values(row) for row in rows()]
        assert [row._state.adding for row in found] == [False] * len(found)
        assert {row._state.db for row in found} <= {"default"}


def test_it_is_compiled_once() -> None:
    made: list[int] = []

    def rows() -> Any:
        made.append(1)
        return Event.objects.unrouted()

    query = CompiledQuery(rows)
    assert not query.exists(using="default")
    make_event(published_at=NOW, routed_at=None)
    assert query.exists(using="default")
    assert query.exists(using="default")
    assert len(made) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, MOST_KEYS, MOST_KEYS + 1])
def test_it_finds_the_rows_with_the_keys(count: int) -> None:
    others = [make_event().pk for _ in range(2)]
    for _ in range(count):
        make_event()
    keys = set(Event.objects.exclude(pk__in=others).values_list("pk", flat=True))
    query = CompiledQuery(lambda: Event.objects.only("topic"))
    found = [event.pk for event in query.of(keys, using="default")]
    assert len(found) == count
    assert set(found) == keys


def test_few_statements_are_kept_for_many_numbers_of_keys() -> None:
    query = CompiledQuery(lambda: Delivery.objects.only("state"), key="subscription")
    with CaptureQueriesContext(connection) as captured:
        for count in range(1, 60):
            query.of(range(count), using="default")
    assert len(captured) == 59
    assert len({each["sql"].count(",") for each in captured}) <= 7


def test_a_query_with_other_values_beside_the_keys_is_refused() -> None:
    query = CompiledQuery(lambda: Event.objects.filter(topic="order.paid"))
    with pytest.raises(TypeError, match=r"orderhooks\.Event has parameters beside the keys"):
        query.of([1], using="default")


def test_a_column_that_is_no_field_becomes_an_attribute_and_others_are_deferred() -> None:
    event = make_event(occurred_at=NOW - timedelta(hours=1))
    text = "SELECT 7 AS weight, occurred_at, sequence FROM orderhooks_event WHERE sequence = %s"
    [found] = instances(Event, text, [event.pk], using="default")
    assert vars(found)["weight"] == 7
    assert found.occurred_at == NOW - timedelta(hours=1)
    assert "topic" in found.get_deferred_fields()
    assert found.topic == event.topic


@pytest.mark.parametrize("is_on", [False, True], ids=["in the clear", "encrypted"])
def test_a_row_is_written_as_save_writes_it(settings: Any, is_on: bool) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPT_PAYLOADS": is_on}
    insert = CompiledInsert(Change, created_at=DatabaseNow())
    fields = {
        "transaction_id": uuid4(),
        "source": "orderhooks",
        "order_pk": "1",
        "kind": Change.Kind.UPDATED,
        "before": {"note": "é' %s ✓", "lines": [{"sku": None}]},
        "after": {"total": "1.50"},
        "error": "100 %",
    }
    saved, *written = [Change(**fields) for _ in range(3)]
    saved.save(force_insert=True)
    for one in written:
        insert.write(one, using="default")
    assert len({saved.pk, *(one.pk for one in written)}) == 3
    rows = {row.pk: values(row) | {"id": 0, "created_at": None} for row in Change.objects.all()}
    assert all(rows[one.pk] == rows[saved.pk] for one in written)
    times = dict(Change.objects.values_list("pk", "created_at"))
    for one in written:
        assert (one._state.adding, one._state.db) == (False, "default")
        # The database's clock, not that of the instance.
        assert abs(times[one.pk] - saved.created_at) < timedelta(minutes=1)
        assert times[one.pk] != one.created_at
