"""Triggers of PostgreSQL are put in place by `migrate`, are reported, and are never in the store's way."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from orderhooks import reporting, source_trials, triggers
from orderhooks.management import doctor
from orderhooks.models import CaptureFailure, Change
from orderhooks.sources import OrderSource, Related, WatchedModel
from orderhooks.triggers import statements
from tests.shapes import sources
from tests.shapes.models import Address, PurchaseLine
from tests.triggered import (  # noqa: F401
    ORDERS,
    SOURCES,
    TABLE,
    _triggers,
    events,
    forget,
    order_of_the_shop,
    sql,
    triggered,
    use,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's"),
]


def named(source: str, key: str) -> tuple[OrderSource, Related]:
    """A source with rows of that key."""
    found = sources.Purchase()
    found.name = source
    return found, Related(key, "shapes.Payment", "order", ("amount",))


class TestInPlace:
    def test_migrate_puts_them_in_place_and_takes_them_away_with_the_setting(self, settings: Any) -> None:
        assert triggers.differences("default") == []
        use(settings, "tests.shapes.sources.Purchase")
        assert triggers.differences("default") == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE %s", [r"orderhooks\_capture\_%"])
            assert cursor.fetchone() == (0,)
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{SOURCES}.TriggeredPurchase"]}
        assert len(triggers.differences("default")) == 6 + 3 * 6
        assert checks.run_checks(databases=["default"])
        # It runs the checks first, as from a shell.
        call_command("migrate", verbosity=0, skip_checks=False)
        assert triggers.differences("default") == []

    @pytest.mark.parametrize(
        ("statement", "found"),
        [
            ("DROP TRIGGER {name}_update ON shapes_purchase", "is missing"),
            ("ALTER TABLE shapes_purchase DISABLE TRIGGER {name}_update", "is disabled"),
            ("DROP FUNCTION {name}() CASCADE", "is missing"),
            (
                "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                "is not as its order source needs it",
            ),
        ],
    )
    def test_what_is_altered_by_hand_is_found_and_put_right_by_migrate(self, statement: str, found: str) -> None:
        (name,) = [one.name for one in triggers.wanted("default", "public").values() if one.table == TABLE]
        sql(statement.format(name=name))
        faults = [fault for fault in source_trials.live_faults() if fault.check_id == "W049"]
        assert faults
        assert any(found in fault.text for fault in faults)
        assert {fault.remedy for fault in faults} == {
            "Run `manage.py migrate`, which puts the triggers in place, and takes away those of no source."
        }
        triggers.install("default")
        assert triggers.differences("default") == []

    def test_a_table_that_somebody_keeps_locked_does_not_hold_up_migrate(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("orderhooks.triggers.installing.LOCK_SECONDS", 0.1)
        use(settings, "tests.shapes.sources.Purchase")
        other = connection.get_new_connection({**connection.get_connection_params(), "autocommit": False})
        with other:
            other.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            use(settings, f"{SOURCES}.TriggeredPurchase")
            other.rollback()
        assert "could not be put in place" in caplog.text
        assert triggers.differences("default")

    def test_a_source_that_triggers_can_not_serve(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.triggered.TriggeredInvoiceOrder", triggered("InvoiceOrder"), raising=False)
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{SOURCES}.TriggeredInvoiceOrder"]}
        (fault,) = source_trials.static_faults()
        assert (fault.check_id, fault.text) == (
            "E049",
            "shapes.InvoiceOrder has columns in the table of a parent model, where triggers can't follow.",
        )

    def test_names_of_functions_are_of_one_source_and_key(self) -> None:
        names = [
            statements.for_model(WatchedModel(source, related), "default", "public").name
            for source, related in (named("shop", "b2b_rows"), named("shop_b2b", "rows"))
        ]
        assert len(set(names)) == 2

    def test_a_store_whose_tables_are_in_another_schema(self, order: Any) -> None:
        sql("CREATE SCHEMA away")
        moved = ("shapes_purchase", "shapes_purchaseline", "shapes_parcel", "shapes_address", "shapes_payment")
        for table in moved:
            sql(f"ALTER TABLE {table} SET SCHEMA away")
        sql("SET search_path = public, away")
        try:
            triggers.install("default")
            line = PurchaseLine.objects.create(order=order, sku="TEA")
            forget()
            sql("INSERT INTO shapes_parcel (line_id, tracking) VALUES (%s, 'X')", line.pk)
            sql("UPDATE shapes_address SET city = 'Rome'")
            assert [topic for topic, _changes in events()] == ["order.updated", "parcel.made", "order.updated"]
        finally:
            for table in moved:
                sql(f"ALTER TABLE away.{table} SET SCHEMA public")
            sql("SET search_path = public")
            sql("DROP SCHEMA away")

    def test_a_trigger_for_replicas_alone_is_found(self) -> None:
        (name,) = [one.name for one in triggers.wanted("default", "public").values() if one.table == TABLE]
        sql(f"ALTER TABLE {TABLE} ENABLE REPLICA TRIGGER {name}_update")
        assert triggers.differences("default") == [f"The trigger {name}_update on the table {TABLE} is disabled."]

    def test_they_go_with_our_tables(self) -> None:
        sql("ALTER TABLE orderhooks_change RENAME TO away")
        try:
            triggers.install("default")
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE %s", [r"orderhooks\_capture\_%"])
                assert cursor.fetchone() == (0,)
        finally:
            sql("ALTER TABLE away RENAME TO orderhooks_change")

    def test_triggers_that_are_left_of_a_source_without_them_are_reported(self, settings: Any) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.shapes.sources.Purchase"]}
        (level,) = reporting.capture_levels()
        assert not level.is_right
        assert "captured by signals, but triggers are still there, so events may be made twice" in level.text
        of_source, of_none = [one for one in source_trials.live_faults() if one.check_id == "W049"]
        assert of_source.source == "tests.shapes.sources.Purchase"
        assert "is still there, and its order source captures by signals." in of_source.text
        assert of_none.source == ""
        assert "belongs to no order source" in of_none.text

    def test_functions_of_no_source_are_one_warning_that_blames_no_source(self, settings: Any) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.shapes.sources.SortedOrder"]}
        (message,) = [one for one in checks.run_checks(databases=["default"]) if one.id == "orderhooks.W049"]
        functions = 7 + len(ORDERS)
        assert message.msg.startswith("Triggers in the database differ. The function ")
        assert message.msg.endswith(f" {functions - 3} more differ.")
        assert all(level.is_right for level in reporting.capture_levels())
        texts = [finding.text for finding in doctor.examine() if finding.what == "sources"]
        assert [text for text in texts if text.startswith("Triggers in the database differ.")] != []

    @pytest.mark.parametrize(
        ("statements", "found"),
        [
            (["ALTER TABLE shapes_payment SET SCHEMA away"], "The table shapes_payment is in no schema of the"),
            (
                [
                    "ALTER TABLE shapes_payment SET SCHEMA away",
                    "CREATE VIEW shapes_payment AS SELECT * FROM away.shapes_payment",
                ],
                "shapes_payment is a view, or part of a table, which triggers can't follow",
            ),
        ],
    )
    def test_a_watched_table_that_has_no_triggers_is_reported(self, statements: list[str], found: str) -> None:
        sql("CREATE SCHEMA away")
        try:
            for statement in statements:
                sql(statement)
            triggers.install("default")
            (text,) = triggers.differences_by_source("default")["Purchase"]
            assert found in text
            [level] = [one for one in reporting.capture_levels() if "(source Purchase)" in one.text]
            assert not level.is_right
        finally:
            sql("DROP VIEW IF EXISTS shapes_payment")
            sql("ALTER TABLE away.shapes_payment SET SCHEMA public")
            sql("DROP SCHEMA away")
            triggers.install("default")


class TestReports:
    def test_doctor_and_dashboard_say_how_each_source_is_captured(self, client: Any, settings: Any) -> None:
        use(settings, f"{SOURCES}.TriggeredPurchase", "tests.shapes.sources.OddOrder")
        by_triggers = "Changes of shapes.Purchase (source Purchase) are captured by triggers."
        by_signals = "Changes of shapes.OddOrder (source OddOrder) are captured by signals."
        User.objects.create_superuser("ada", password="x")
        client.login(username="ada", password="x")
        assert [level.text for level in reporting.capture_levels()] == [by_triggers, by_signals]
        page = client.get("/admin/orderhooks/dashboard/").content.decode()
        assert by_triggers in page
        assert by_signals in page

    def test_triggers_that_are_missing_are_a_bad_notice(self, settings: Any) -> None:
        sql("ALTER TABLE shapes_purchase DISABLE TRIGGER USER")
        (level,) = [one for one in reporting.capture_levels() if "(source Purchase)" in one.text]
        assert not level.is_right
        assert "should be captured by triggers, but these differ: run manage.py migrate. The trigger" in level.text
        sql("ALTER TABLE shapes_purchase ENABLE TRIGGER USER")


class TestTheStoreGoesOn:
    def test_a_column_that_has_gone_is_left_out(self, order: Any) -> None:
        sql(f"ALTER TABLE {TABLE} RENAME COLUMN total TO amount")
        try:
            sql(f"UPDATE {TABLE} SET state = 'paid'")
            (change,) = Change.objects.all()
            assert (change.before["state"], change.after["state"]) == ("open", "paid")
            assert "total" not in change.after
        finally:
            sql(f"ALTER TABLE {TABLE} RENAME COLUMN amount TO total")
        assert [topic for topic, _changes in events()] == ["order.updated", "order.paid"]

    def test_a_column_of_an_address_that_has_gone_costs_only_that_column(self, order: Any) -> None:
        other = Address.objects.create(city="Rome")
        sql("ALTER TABLE shapes_address RENAME COLUMN city TO town")
        try:
            sql(f"UPDATE {TABLE} SET state = 'paid', delivery_id = %s", other.pk)
            kinds = sorted(Change.objects.values_list("related", flat=True))
            assert kinds == ["", "delivery", "delivery"]
        finally:
            sql("ALTER TABLE shapes_address RENAME COLUMN town TO city")
        assert {topic for topic, _changes in events()} == {"order.updated", "order.paid"}

    def test_the_stores_migrations_are_not_blocked(self, order: Any) -> None:
        sql(f"ALTER TABLE {TABLE} ADD COLUMN colour text")
        sql(f"ALTER TABLE {TABLE} ALTER COLUMN state TYPE text")
        sql(f"ALTER TABLE {TABLE} DROP COLUMN colour")
        sql(f"UPDATE {TABLE} SET state = 'paid'")
        sql(f"ALTER TABLE {TABLE} ALTER COLUMN state TYPE varchar(20)")
        assert [topic for topic, _changes in events()] == ["order.updated", "order.paid"]

    def test_without_our_tables_the_store_still_writes(self, order: Any) -> None:
        sql("ALTER TABLE orderhooks_change RENAME TO away")
        try:
            sql(f"UPDATE {TABLE} SET state = 'paid'")
        finally:
            sql("ALTER TABLE away RENAME TO orderhooks_change")
        order.refresh_from_db()
        assert order.state == "paid"
        assert events() == []
        failure = CaptureFailure.objects.get()
        assert failure.error.startswith("A trigger could not capture a change of shapes_purchase: relation ")
        failure.delete()

    def test_a_role_without_rights_on_our_tables_may_write(self, order: Any) -> None:
        sql("CREATE ROLE orderhooks_test_clerk")
        try:
            sql(f"GRANT SELECT, UPDATE ON {TABLE} TO orderhooks_test_clerk")
            with transaction.atomic():
                sql("SET LOCAL ROLE orderhooks_test_clerk")
                with pytest.raises(DatabaseError), transaction.atomic():
                    sql("SELECT * FROM orderhooks_change")
                sql(f"UPDATE {TABLE} SET state = 'paid'")
        finally:
            sql("DROP OWNED BY orderhooks_test_clerk")
            sql("DROP ROLE orderhooks_test_clerk")
        assert [topic for topic, _changes in events()] == ["order.updated", "order.paid"]
