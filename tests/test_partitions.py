"""Attempts divided by month: what was stored stays, months are there in time, and old ones go as a table."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone

from orderhooks import partitions, retention, sending
from orderhooks.management import doctor
from orderhooks.models import Attempt, Delivery
from orderhooks.partitions import dividing
from orderhooks.retention_periods import Cutoffs
from orderhooks.transport import Outcome
from tests.factories import claim, cutoffs_at, make_attempt, make_delivery, make_event, make_subscription

# In a transaction that is rolled back, and the division with it.
pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SEPTEMBER, OCTOBER, NOVEMBER = (datetime(2026, month, 9, tzinfo=UTC) for month in (9, 10, 11))
MONTHS = ("first", "2026_12", "2027_01", "2027_02")


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL divides tables; run with TEST_DATABASE=postgres")
    with connection.cursor() as cursor:
        # Tables whose rows are still to be checked at the commit can't be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def tables() -> list[str]:
    return [month.table.removeprefix("orderhooks_attempt_") for month in partitions.months()]


def table_of(attempt: Attempt) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM orderhooks_attempt WHERE id = %s", [attempt.pk])
        [(table,)] = cursor.fetchall()
    return str(table).removeprefix("orderhooks_attempt_")


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def found(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def rights(name: str) -> list[Any]:
    """The owner of a table or sequence, and who may do what with it and its columns."""
    return found(
        f"""
        SELECT relowner::regrole::text, NULL, (aclexplode(relacl)).* FROM pg_class WHERE oid = '{name}'::regclass
        UNION ALL
        SELECT NULL, attname, (aclexplode(attacl)).*
        FROM pg_attribute WHERE attrelid = '{name}'::regclass AND attnum > 0
        ORDER BY 1, 2, 3, 4, 5
        """
    )


def attempt_at(moment: datetime, **delivery: object) -> Attempt:
    fields = {"state": "delivered", "created_at": moment, "finished_at": moment, **delivery}
    event = make_event(occurred_at=moment, published_at=moment, routed_at=moment)
    return make_attempt(make_delivery(event=event, **fields), started_at=moment)


class TestDividing:
    def test_keeps_what_was_stored_and_counts_on(self) -> None:
        former = [attempt_at(SEPTEMBER), attempt_at(NOVEMBER)]
        before = list(Attempt.objects.order_by("pk").values())
        assert not partitions.are_used()
        partitions.divide(now=NOW)
        assert partitions.are_used()
        assert list(Attempt.objects.order_by("pk").values()) == before
        new = attempt_at(NOW)
        assert new.pk > max(one.pk for one in former)
        assert {table_of(one) for one in [*former, new]} == {"first"}
        assert tuple(tables()) == MONTHS

    def test_workers_record_as_before(self) -> None:
        partitions.divide(now=NOW)
        make_delivery(subscription=make_subscription(), event=make_event())
        now = timezone.now()
        [claimed] = claim(now=now)
        sending.record([sending.Sent(claimed, {}, now, Outcome(status_code=200))], now=now)
        delivery = Delivery.objects.get()
        assert (delivery.state, [one.status_code for one in delivery.attempts.all()]) == ("delivered", [200])

    @pytest.mark.parametrize("month", [NOW, NOW + 10 * DAY, NOW + 300 * DAY], ids=["first", "next", "others"])
    def test_a_number_is_used_once_and_a_delivery_has_to_be_there(self, month: datetime) -> None:
        partitions.divide(now=NOW)
        attempt = attempt_at(month)
        with pytest.raises(IntegrityError), transaction.atomic():
            make_attempt(attempt.delivery, number=1, started_at=month)
        with pytest.raises(IntegrityError), transaction.atomic():
            Attempt.objects.filter(pk=attempt.pk).update(delivery_id=-1)

    def test_keeps_the_owner_and_the_rights_of_others(self) -> None:
        execute(
            "CREATE ROLE orderhooks_owner",
            'CREATE ROLE "orderhooks {reader}"',
            "GRANT CREATE ON SCHEMA public TO orderhooks_owner",
            'GRANT SELECT ON orderhooks_attempt TO "orderhooks {reader}" WITH GRANT OPTION',
            'GRANT UPDATE (url, detail) ON orderhooks_attempt TO "orderhooks {reader}"',
            'GRANT SELECT ON orderhooks_attempt_id_seq TO "orderhooks {reader}"',
            "GRANT SELECT ON orderhooks_attempt TO PUBLIC",
            "ALTER TABLE orderhooks_attempt OWNER TO orderhooks_owner",
            "ALTER TABLE orderhooks_attempt SET (autovacuum_vacuum_scale_factor = 0.01, fillfactor = 90)",
        )
        before, before_of_sequence = rights("orderhooks_attempt"), rights("orderhooks_attempt_id_seq")
        assert len([one for one in before if one[1]]) == 2, "of two columns"
        partitions.divide(now=NOW)
        for table in ("orderhooks_attempt", "orderhooks_attempt_others", "orderhooks_attempt_2026_12"):
            assert rights(table) == before, table
        assert rights("orderhooks_attempt_id_seq") == before_of_sequence
        options = found(
            "SELECT reloptions FROM pg_class WHERE relkind = 'r' AND relname LIKE 'orderhooks\\_attempt\\_%'"
        )
        assert len(options) == 5
        assert all({*of} == {"autovacuum_vacuum_scale_factor=0.01", "fillfactor=90"} for (of,) in options)

    @pytest.mark.parametrize(
        ("statement", "named"),
        [
            ("CREATE VIEW report AS SELECT count(*) FROM orderhooks_attempt", "the view report"),
            ("CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM orderhooks_attempt", "the view report"),
            ("CREATE INDEX own ON orderhooks_attempt (status_code)", "the index own"),
            ("CREATE UNIQUE INDEX own ON orderhooks_attempt (id, status_code)", "the index own"),
            ("ALTER TABLE orderhooks_attempt ADD CONSTRAINT own UNIQUE (id, url)", "the constraint own"),
            ("CREATE TABLE ticket (attempt bigint REFERENCES orderhooks_attempt)", "ticket_attempt_fkey of ticket"),
            ("CREATE POLICY own ON orderhooks_attempt", "the policy own"),
            ("ALTER TABLE orderhooks_attempt ENABLE ROW LEVEL SECURITY", "row level security"),
            ("CREATE PUBLICATION own FOR TABLE orderhooks_attempt", "the publication own"),
            (
                "CREATE TRIGGER own BEFORE UPDATE ON orderhooks_attempt FOR EACH ROW "
                "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "the trigger own",
            ),
        ],
    )
    def test_is_not_done_with_what_would_stay_with_the_first_part(self, statement: str, named: str) -> None:
        execute(statement)
        with pytest.raises(CommandError, match=rf"orderhooks_attempt .*: .*{named}\. Drop it"), transaction.atomic():
            call_command("orderhooks_partition")
        assert not partitions.are_used()

    @pytest.mark.parametrize("is_owner", [False, True])
    def test_says_which_rights_are_missing(self, *, is_owner: bool) -> None:
        execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE ROLE orderhooks_other")
        execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO orderhooks_other")
        if is_owner:
            execute(
                "GRANT CREATE ON SCHEMA public TO orderhooks_other",
                "ALTER TABLE orderhooks_attempt OWNER TO orderhooks_other",
                "REVOKE CREATE ON SCHEMA public FROM orderhooks_other",
            )
        with pytest.raises(CommandError, match=r"has to own the tables.* GRANT CREATE ON SCHEMA"), transaction.atomic():
            execute("SET LOCAL ROLE orderhooks_other")
            call_command("orderhooks_partition")
        assert not partitions.are_used()

    def test_is_not_done_while_somebody_has_the_table_locked(self, monkeypatch) -> None:
        monkeypatch.setattr(dividing, "LOCK_SECONDS", 0.1)
        other = connection.copy()
        try:
            with transaction.atomic(), other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("LOCK TABLE orderhooks_attempt IN ACCESS SHARE MODE")
                with pytest.raises(CommandError, match="Stop the workers"):
                    call_command("orderhooks_partition")
        finally:
            other.close()
        assert not partitions.are_used()

    def test_is_not_done_while_an_attempt_is_of_a_later_month(self) -> None:
        attempt_at(timezone.now() + 40 * DAY)
        with pytest.raises(CommandError, match="a later month"), transaction.atomic():
            call_command("orderhooks_partition")
        assert not partitions.are_used()

    def test_by_command_as_often_as_one_likes(self) -> None:
        outputs = []
        for _ in range(3):
            output = StringIO()
            call_command("orderhooks_partition", stdout=output)
            outputs.append(output.getvalue())
            if len(outputs) == 2:
                partitions.drop(partitions.months()[-1])
        assert outputs[0].replace("by month", "by month already") == outputs[1] == outputs[2].replace(" (new)", "")
        assert "orderhooks_attempt_first, until" in outputs[0]
        assert outputs[2].count(" (new)") == 1


class TestMonths:
    def test_are_made_before_they_begin(self) -> None:
        partitions.divide(now=NOW)
        assert partitions.add_months(now=NOW) == []
        assert partitions.add_months(now=NOW + 31 * DAY) == ["orderhooks_attempt_2027_03"]
        assert table_of(attempt_at(NOW + 100 * DAY)) == "2027_03"

    def test_one_that_comes_late_takes_its_attempts(self) -> None:
        partitions.divide(now=NOW)
        early, late = attempt_at(NOW + 200 * DAY), attempt_at(NOW + 400 * DAY)
        assert (table_of(early), table_of(late)) == ("others", "others")
        partitions.add_months(now=NOW + 200 * DAY)
        assert (table_of(early), table_of(late)) == ("2027_06", "others")
        assert Attempt.objects.count() == 2

    def test_that_passed_while_nothing_made_them_are_made(self) -> None:
        partitions.divide(now=NOW)
        early, recent = attempt_at(NOW + 200 * DAY), attempt_at(NOW + 500 * DAY)
        partitions.add_months(now=NOW + 600 * DAY)
        assert (table_of(early), table_of(recent)) == ("others", "2028_04")
        assert tables() == [*MONTHS, *(f"2028_{month:02}" for month in range(4, 11))]

    @pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/New_York"])
    def test_are_in_utc_whatever_the_time_zone_of_the_connection(self, zone: str) -> None:
        execute(f"SET LOCAL TIME ZONE '{zone}'")
        partitions.divide(now=NOW)
        assert partitions.months()[0] == partitions.Month("orderhooks_attempt_first", datetime(2026, 12, 1, tzinfo=UTC))
        assert partitions.months()[0].ends_at.utcoffset() == timedelta(0)
        assert partitions.add_months(now=NOW) == []

    def test_the_doctor_says_which_is_missing_and_which_should_be_gone(self) -> None:
        def examined() -> list[tuple[str, str]]:
            return [(one.level, one.text.split(".")[0]) for one in doctor.examine() if one.what == "partitions"]

        partitions.divide(now=timezone.now())
        assert examined() == [
            ("ok", "Attempts are divided by month; what comes next has its tables, and none is too old")
        ]
        execute(
            "ALTER TABLE orderhooks_attempt DETACH PARTITION orderhooks_attempt_first",
            "ALTER TABLE orderhooks_attempt ATTACH PARTITION orderhooks_attempt_first FOR VALUES FROM (MINVALUE) TO "
            "('2020-01-01+00')",
        )
        assert examined() == [
            (
                "warn",
                "These months have no table for their attempts, so orderhooks_attempt_others takes them: "
                f"{timezone.now():%Y-%m}",
            ),
            ("warn", "orderhooks_attempt_first should have been dropped"),
        ]

    def test_the_doctor_names_the_next_months_that_are_missing(self) -> None:
        partitions.divide(now=timezone.now())
        *_others, late, last = partitions.months()
        partitions.drop(last)
        # A day's work, which the daily task has yet to do.
        assert [one.level for one in doctor.examine() if one.what == "partitions"] == ["ok"]
        partitions.drop(late)
        [finding] = [one for one in doctor.examine() if one.what == "partitions"]
        assert (finding.level, late.table[-7:].replace("_", "-") in finding.text) == ("warn", True)
        assert f"{timezone.now():%Y-%m}" not in finding.text
        assert "manage.py orderhooks_partition" in finding.text

    def test_the_log_says_that_one_could_not_be_made(self, caplog) -> None:
        partitions.divide(now=SEPTEMBER)
        refused = ProgrammingError("permission denied for schema public")
        with patch.object(partitions, "add_months", side_effect=refused):
            retention.keep_partitions(now=NOW, before=cutoffs_at(NOW))
        [record] = caplog.records
        assert "a partition could not be made" in record.getMessage()
        assert "GRANT CREATE ON SCHEMA" in record.getMessage()
        assert "table=" not in record.getMessage()


class TestRetention:
    @pytest.fixture(autouse=True)
    def divided(self) -> None:
        partitions.divide(now=SEPTEMBER)

    def test_old_months_go_as_tables_and_deliveries_with_them(self) -> None:
        for moment in (SEPTEMBER, OCTOBER, NOVEMBER):
            attempt_at(moment)
        cutoffs = cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC))
        assert retention.keep_partitions(now=NOW, before=cutoffs) == [
            "orderhooks_attempt_first",
            "orderhooks_attempt_2026_10",
        ]
        assert [one.started_at for one in Attempt.objects.all()] == [NOVEMBER]
        while retention.prune(before=cutoffs):
            pass
        assert [one.created_at for one in Delivery.objects.all()] == [NOVEMBER]
        assert Attempt.objects.count() == 1
        assert tables() == ["2026_11", "2026_12", "2027_01", "2027_02"]

    def test_a_month_stays_while_one_of_its_deliveries_waits(self) -> None:
        waiting = attempt_at(SEPTEMBER, state="pending", finished_at=None, next_attempt_at=NOW)
        other = attempt_at(SEPTEMBER)
        cutoffs = cutoffs_at(NOW)
        assert retention.keep_partitions(now=NOW, before=cutoffs) == ["orderhooks_attempt_2026_10"]
        while retention.prune(before=cutoffs):
            pass
        assert list(Attempt.objects.all()) == [waiting]
        assert not Delivery.objects.filter(pk=other.delivery_id).exists()
        Delivery.objects.update(state="delivered", finished_at=NOW, next_attempt_at=None)
        assert retention.keep_partitions(now=NOW, before=cutoffs) == ["orderhooks_attempt_first"]

    def test_bodies_go_before_their_month_if_they_are_kept_for_fewer_days(self) -> None:
        attempt_at(NOVEMBER)
        cutoffs = Cutoffs({**cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC)).before, "attempt_bodies": NOW})
        retention.prune(before=cutoffs)
        assert [one.response_body for one in Attempt.objects.all()] == [""]

    def test_bodies_that_are_kept_as_long_as_their_attempts_are_not_blanked(self) -> None:
        attempt_at(NOVEMBER)
        retention.prune(before=cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC)))
        assert [one.response_body for one in Attempt.objects.all()] == ["thanks"]

    def test_what_can_not_be_done_is_logged_and_keeps_nothing_else_from_being_done(self, caplog) -> None:
        attempt_at(SEPTEMBER)
        execute("CREATE VIEW somebodys_report AS SELECT * FROM orderhooks_attempt_first")
        assert retention.keep_partitions(now=NOW, before=cutoffs_at(NOW)) == ["orderhooks_attempt_2026_10"]
        assert "a partition is left as it is" in caplog.text
        assert "orderhooks_attempt_first" in caplog.text
        assert Attempt.objects.count() == 1

    def test_the_command_names_the_time_from_which_deliveries_are_kept(self) -> None:
        attempt_at(timezone.now())
        output = StringIO()
        call_command("orderhooks_prune", days=0, stdout=output)
        assert Delivery.objects.exists()
        assert f"are of {partitions.month_of(timezone.now()):%Y-%m-%d} 00:00 UTC" in output.getvalue()
