"""Attempts divided by month: what was stored stays, months are there in time, and old ones go as a table."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from orderhooks import partitions, retention, sending
from orderhooks.models import Attempt, Delivery
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
        with connection.cursor() as cursor:
            cursor.execute("CREATE ROLE orderhooks_owner")
            cursor.execute("CREATE ROLE orderhooks_reader")
            cursor.execute("GRANT CREATE ON SCHEMA public TO orderhooks_owner")
            cursor.execute("GRANT SELECT ON orderhooks_attempt TO orderhooks_reader WITH GRANT OPTION")
            cursor.execute("GRANT SELECT ON orderhooks_attempt TO PUBLIC")
            cursor.execute("ALTER TABLE orderhooks_attempt OWNER TO orderhooks_owner")
            rights = "SELECT relowner::regrole::text, relacl::text FROM pg_class WHERE relname = 'orderhooks_attempt'"
            cursor.execute(rights)
            before = cursor.fetchall()
            partitions.divide(now=NOW)
            cursor.execute(rights)
            assert cursor.fetchall() == before
            cursor.execute(
                "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname LIKE 'orderhooks_attempt_20%'"
            )
            assert cursor.fetchall() == [("orderhooks_owner",)]

    def test_is_not_done_while_somebody_has_the_table_locked(self, monkeypatch) -> None:
        monkeypatch.setattr(partitions, "LOCK_SECONDS", 0.1)
        other = connection.copy()
        try:
            with transaction.atomic(), other.cursor() as cursor:
                cursor.execute("BEGIN; LOCK TABLE orderhooks_attempt IN ACCESS SHARE MODE")
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
        for _ in range(2):
            output = StringIO()
            call_command("orderhooks_partition", stdout=output)
            outputs.append(output.getvalue())
        assert outputs[0] == outputs[1]
        assert "orderhooks_attempt_first, until" in outputs[0]


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

    def test_are_in_utc_whatever_the_time_zone_of_the_connection(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        partitions.divide(now=NOW)
        assert partitions.months()[0].ends_at == datetime(2026, 12, 1, tzinfo=UTC)
        assert partitions.add_months(now=NOW) == []


class TestRetention:
    @pytest.fixture(autouse=True)
    def divided(self) -> None:
        partitions.divide(now=SEPTEMBER)

    def test_old_months_go_as_tables_and_deliveries_with_them(self) -> None:
        for moment in (SEPTEMBER, OCTOBER, NOVEMBER):
            attempt_at(moment)
        cutoffs = cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC))
        assert retention.keep_months(now=NOW, before=cutoffs) == [
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
        assert retention.keep_months(now=NOW, before=cutoffs) == ["orderhooks_attempt_2026_10"]
        while retention.prune(before=cutoffs):
            pass
        assert list(Attempt.objects.all()) == [waiting]
        assert not Delivery.objects.filter(pk=other.delivery_id).exists()
        Delivery.objects.update(state="delivered", finished_at=NOW, next_attempt_at=None)
        assert retention.keep_months(now=NOW, before=cutoffs) == ["orderhooks_attempt_first"]

    def test_bodies_go_before_their_month_if_they_are_kept_for_fewer_days(self) -> None:
        attempt_at(NOVEMBER)
        cutoffs = Cutoffs({**cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC)).before, "attempt_bodies": NOW})
        retention.prune(before=cutoffs)
        assert [one.response_body for one in Attempt.objects.all()] == [""]

    def test_bodies_that_are_kept_as_long_as_their_attempts_are_not_blanked(self) -> None:
        attempt_at(NOVEMBER)
        retention.prune(before=cutoffs_at(datetime(2026, 11, 20, tzinfo=UTC)))
        assert [one.response_body for one in Attempt.objects.all()] == ["thanks"]

    def test_what_can_not_be_done_is_logged_and_left_for_the_next_day(self, caplog) -> None:
        attempt_at(SEPTEMBER)
        with connection.cursor() as cursor:
            cursor.execute("CREATE VIEW somebodys_report AS SELECT * FROM orderhooks_attempt_first")
        assert retention.keep_months(now=NOW, before=cutoffs_at(NOW)) == []
        assert "can't be divided by month" in caplog.text
        assert Attempt.objects.count() == 1
