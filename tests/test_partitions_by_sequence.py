"""Events and deliveries divided by sequence: what was stored stays and is found, and old ranges go as tables."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from orderhooks import digests, partitions, retention, routing
from orderhooks.management import doctor
from orderhooks.models import Attempt, Delivery, Event, FeedConsumer
from orderhooks.partitions import DELIVERIES, EVENTS, by_sequence
from tests.factories import (
    cutoffs_at,
    make_attempt,
    make_consumer,
    make_delivery,
    make_event,
    make_event_at,
    make_failed_event,
    make_subscription,
    make_user,
    send_due,
)
from tests.receivers import RecordingReceiver

# In a transaction that is rolled back, and the division with it.
pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
JULY, AUGUST = (datetime(2026, month, 9, tzinfo=UTC) for month in (7, 8))
OLD = cutoffs_at(datetime(2026, 11, 2, tzinfo=UTC))
WIDTH = 100


@pytest.fixture(autouse=True)
def _narrow_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL divides tables; run with TEST_DATABASE=postgres")
    monkeypatch.setattr(by_sequence, "LEAST", WIDTH)
    # Tests before it may have left off just before the end of a range.
    go_on_at(1)
    # Tables whose rows are still to be checked at the commit can't be altered.
    execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.fixture
def divided() -> int:
    """Where the first range ends."""
    partitions.divide(now=AUGUST)
    partitions.divide_by_range(now=NOW)
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    return partitions.ranges(EVENTS)[0].ends_at


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def found(query: str, *parameters: str | int) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def go_on_at(sequence: int) -> None:
    execute(f"ALTER TABLE orderhooks_event ALTER COLUMN sequence RESTART WITH {sequence}")


def table_of(row: Event | Delivery) -> str:
    name = row._meta.db_table
    [(table,)] = found(f"SELECT tableoid::regclass::text FROM {name} WHERE {row._meta.pk.column} = %s", row.pk)
    return str(table).removeprefix(f"{name}_")


def delivered_at(moment: datetime, **fields: Any) -> Delivery:
    fields = {"state": "delivered", "created_at": moment, "finished_at": moment, **fields}
    delivery = make_delivery(event=make_event_at(moment), **fields)
    if delivery.state == "delivered":
        make_attempt(delivery, started_at=moment)
    return delivery


def dropped() -> list[str]:
    """The tables that retention drops, but for those of attempts."""
    tables = [table.removeprefix("orderhooks_") for table in retention.keep_partitions(now=NOW, before=OLD)]
    return [table for table in tables if not table.startswith("attempt")]


def findings() -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in doctor.examine() if one.what == "partitions"]


class TestDividing:
    def test_keeps_what_was_stored_and_counts_on(self) -> None:
        former = delivered_at(JULY)
        before = [list(model.objects.values()) for model in (Event, Delivery, Attempt)]
        partitions.divide(now=NOW)
        partitions.divide_by_range(now=NOW)
        assert [list(model.objects.values()) for model in (Event, Delivery, Attempt)] == before
        new = delivered_at(NOW)
        assert new.pk > former.pk
        assert new.event_id > former.event_id
        assert {table_of(row) for row in (former, new, former.event, new.event)} == {"first"}

    def test_events_are_routed_and_delivered_as_before(self, divided: int, receiver: RecordingReceiver) -> None:
        make_subscription(url=receiver.url)
        go_on_at(divided + 5)
        event = make_event(routed_at=None)
        routing.route(now=timezone.now())
        assert send_due() == 1
        delivery = event.deliveries.get()
        assert (delivery.state, table_of(delivery)) == ("delivered", f"{divided}")
        assert [one.status_code for one in delivery.attempts.all()] == [200]

    @pytest.mark.parametrize("beyond", [0, 10, 10 * WIDTH], ids=["first", "next", "others"])
    def test_an_event_goes_to_a_subscription_once_and_stays_with_its_deliveries(
        self, divided: int, beyond: int
    ) -> None:
        if beyond:
            go_on_at(divided + beyond)
        delivery = make_delivery()
        with pytest.raises(IntegrityError), transaction.atomic():
            make_delivery(event=delivery.event, subscription=delivery.subscription)
        with pytest.raises(IntegrityError), transaction.atomic():
            make_event(public_id=delivery.event.public_id)
        with pytest.raises(IntegrityError), transaction.atomic():
            make_delivery(public_id=delivery.public_id)
        with pytest.raises(IntegrityError), transaction.atomic():
            Delivery.objects.update(event_id=10**9)
        with pytest.raises(IntegrityError), transaction.atomic():
            execute("DELETE FROM orderhooks_event")

    def test_each_part_has_the_indexes_of_the_whole(self, divided: int) -> None:
        for division, model in ((EVENTS, Event), (DELIVERIES, Delivery)):
            names = {name for (name,) in found("SELECT indexname FROM pg_indexes WHERE tablename = %s", division.table)}
            assert {index.name for index in model._meta.indexes} < names
            query = "SELECT tablename, count(*) FROM pg_indexes WHERE tablename LIKE %s GROUP BY 1"
            counts = dict(found(query, f"{division.table}%"))
            # But for the public id, which is unique in each part.
            assert set(counts.values()) == {len(names), len(names) + 1}
            assert counts.pop(division.table) == len(names)
            assert len(counts) == 4

    def test_keeps_the_rights_of_others(self) -> None:
        execute(
            "CREATE ROLE orderhooks_reader",
            "GRANT SELECT ON orderhooks_event TO orderhooks_reader",
            "GRANT UPDATE (state) ON orderhooks_delivery TO orderhooks_reader",
        )
        partitions.divide(now=NOW)
        partitions.divide_by_range(now=NOW)
        for division in (EVENTS, DELIVERIES):
            for table in (division.table, division.others, partitions.ranges(division)[-1].table):
                kind = "SELECT" if division is EVENTS else "UPDATE"
                [(may,)] = found("SELECT has_any_column_privilege('orderhooks_reader', %s, %s)", table, kind)
                assert may, table

    @pytest.mark.parametrize(
        ("statement", "named"),
        [
            ("CREATE VIEW report AS SELECT count(*) FROM orderhooks_event", "orderhooks_event .*the view report"),
            ("CREATE INDEX own ON orderhooks_delivery (created_at)", "orderhooks_delivery .*the index own"),
            (
                "ALTER TABLE orderhooks_event ADD CONSTRAINT own UNIQUE (topic, sequence)",
                "orderhooks_event .*the constraint own",
            ),
            ("CREATE TABLE ticket (delivery bigint REFERENCES orderhooks_delivery)", "ticket_delivery_fkey of ticket"),
        ],
    )
    def test_is_not_done_with_what_would_stay_with_the_first_part(self, statement: str, named: str) -> None:
        partitions.divide(now=NOW)
        execute(statement)
        with pytest.raises(CommandError, match=named), transaction.atomic():
            call_command("orderhooks_partition", "--events")
        assert not partitions.are_ranged()
        assert found("SELECT 1 FROM pg_constraint WHERE confrelid = 'orderhooks_delivery'::regclass")

    def test_by_command_as_often_as_one_likes(self) -> None:
        outputs = []
        for options in (["--events"], [], ["--events"]):
            output = StringIO()
            call_command("orderhooks_partition", *options, stdout=output)
            outputs.append(output.getvalue())
        assert (
            outputs[0].replace("by month", "by month already").replace("by sequence", "by sequence already")
            == (outputs[1])
        )
        assert outputs[1] == outputs[2]
        assert "orderhooks_event_first, before " in outputs[0]
        assert "orderhooks_delivery_others, for all others" in outputs[0]


class TestRanges:
    def test_are_made_before_they_begin(self, divided: int) -> None:
        assert partitions.add_ranges(now=NOW) == []
        go_on_at(divided + 1)
        assert table_of(make_event()) == f"{divided}"
        end = divided + 2 * WIDTH
        assert partitions.add_ranges(now=NOW) == [f"orderhooks_event_{end}", f"orderhooks_delivery_{end}"]
        assert partitions.add_ranges(now=NOW) == []

    @pytest.mark.parametrize(
        ("days", "events", "width"),
        [
            (60, 1, WIDTH),
            (60, 3 * WIDTH, 2 * WIDTH),
            (60, 7 * WIDTH, 5 * WIDTH),
            # Not as if each day were so: they may be a backfill.
            (1, 2 * WIDTH, 2 * WIDTH),
        ],
    )
    def test_get_wider_with_the_shop(self, divided: int, days: int, events: int, width: int) -> None:
        """So many events in so many days: each range takes those of a month, or more."""
        first = make_event(occurred_at=NOW - days * DAY)
        go_on_at(first.pk + events)
        make_event(occurred_at=NOW)
        partitions.add_ranges(now=NOW)
        newest = partitions.ranges(EVENTS)[-1]
        assert newest.ends_at - newest.begins_at == width

    def test_that_were_outgrown_go_on_soon_however_wide_the_next_one_is(self, divided: int) -> None:
        make_event(occurred_at=NOW - 10 * DAY)
        go_on_at(divided + 57 * WIDTH)
        event = make_event(occurred_at=NOW)
        partitions.add_ranges(now=NOW)
        following = next(one for one in partitions.ranges(EVENTS) if one.begins_at > event.pk)
        assert following.ends_at - following.begins_at == 100 * WIDTH
        assert following.begins_at <= event.pk + 2 * WIDTH

    def test_that_were_outgrown_leave_what_came_among_the_others(self, divided: int) -> None:
        assert partitions.is_room_left()
        go_on_at(divided + 7 * WIDTH)
        delivery = make_delivery()
        assert not partitions.is_room_left()
        assert "orderhooks_event_others takes them" in str(findings())
        partitions.add_ranges(now=timezone.now())
        assert (table_of(delivery), table_of(delivery.event)) == ("others", "others")
        begins_at = partitions.ranges(EVENTS)[-1].begins_at
        assert begins_at > delivery.event_id + WIDTH
        go_on_at(begins_at)
        assert table_of(make_delivery()) == f"{begins_at}"
        assert "orderhooks_event_others" not in str(findings())


class TestRetention:
    def test_old_ranges_go_as_tables_and_young_rows_stay(self, divided: int) -> None:
        delivered_at(JULY)
        go_on_at(divided)
        delivered_at(AUGUST)
        go_on_at(divided + WIDTH)
        young = delivered_at(NOW)
        assert dropped() == ["delivery_first", f"delivery_{divided}", "event_first", f"event_{divided}"]
        assert list(Delivery.objects.all()) == [young]
        assert list(Event.objects.all()) == [young.event]

    def test_rows_are_not_pruned_of_a_range_that_will_go(self, divided: int) -> None:
        old, young = delivered_at(JULY), delivered_at(NOW)
        Attempt.objects.all().delete()
        go_on_at(divided)
        make_event()
        assert dropped() == []
        assert retention.prune(before=OLD) == 0
        Event.objects.filter(pk=young.event_id).update(occurred_at=AUGUST, routed_at=AUGUST)
        Delivery.objects.filter(pk=young.pk).update(finished_at=AUGUST)
        assert dropped() == ["delivery_first", "event_first"]
        assert not Delivery.objects.filter(pk=old.pk).exists()

    @pytest.mark.parametrize(
        "fields",
        [
            {"state": "pending", "finished_at": None, "next_attempt_at": NOW},
            {"state": "sending", "finished_at": None, "lease_token": "0" * 32, "lease_expires_at": NOW},
            {"finished_at": NOW},
        ],
        ids=["waits", "is being sent", "ended since"],
    )
    def test_a_range_stays_while_it_has_a_delivery_that_is_kept(self, divided: int, fields: dict[str, Any]) -> None:
        delivered_at(JULY)
        kept = delivered_at(JULY, **fields)
        Attempt.objects.all().delete()
        go_on_at(divided)
        make_event()
        assert dropped() == []
        while retention.prune(before=OLD):
            pass
        assert list(Delivery.objects.all()) == [kept]
        [level] = [level for level, text in findings() if "orderhooks_delivery_first" in text]
        assert level == "warn"

    def test_a_range_stays_while_attempts_of_it_do(self, divided: int) -> None:
        make_attempt(delivered_at(JULY), number=2, started_at=NOW + 3 * DAY)
        go_on_at(divided)
        make_event()
        assert dropped() == []

    def test_an_event_that_was_never_published_stays(self, divided: int) -> None:
        event = make_failed_event(occurred_at=JULY)
        make_event_at(JULY)
        go_on_at(divided)
        make_event()
        assert dropped() == ["delivery_first"]
        while retention.prune(before=OLD):
            pass
        assert Event.objects.filter(occurred_at=JULY).get() == event

    def test_consumers_hear_of_events_that_they_missed(self, divided: int) -> None:
        consumer = make_consumer(user=make_user(is_superuser=True))
        make_event_at(JULY)
        make_event_at(JULY)
        go_on_at(divided)
        make_event()
        assert dropped() == ["delivery_first", "event_first"]
        assert FeedConsumer.objects.get(pk=consumer.pk).missed == 2

    def test_events_stay_while_their_digests_can_not_be_made(self, divided: int, caplog) -> None:
        make_event_at(JULY)
        go_on_at(divided)
        make_event()
        refused = OperationalError("canceling statement due to lock timeout")
        with patch.object(digests, "catch_up", side_effect=refused):
            assert dropped() == ["delivery_first"]
        assert "a partition is left as it is" in caplog.text
        assert dropped() == ["event_first"]

    def test_a_range_that_is_not_full_is_pruned_by_rows(self, divided: int) -> None:
        delivered_at(JULY)
        assert dropped() == []
        while retention.prune(before=OLD):
            pass
        assert not Event.objects.exists()
        assert len(partitions.ranges(EVENTS)) == 3
