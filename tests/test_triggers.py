"""Triggers of PostgreSQL: the same values as signals, put in place by `migrate`, and never in the store's way."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from orderhooks import outbox, publishing, reporting, signal_handlers, source_trials, triggers
from orderhooks.models import CaptureFailure, Change, Event, Subscription
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import models as shapes
from tests.shapes import sources
from tests.shapes.models import Address, Payment, Purchase, PurchaseLine

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's"),
]

ORDERS = (
    "Purchase",
    "OddOrder",
    "ListOrder",
    "PricedOrder",
    "CompositeOrder",
    "UuidOrder",
    "NumberedOrder",
    "TextOrder",
)
TABLE = "shapes_purchase"


def triggered(name: str) -> type[Any]:
    """The source of a model, with its changes captured by triggers."""
    source: Any = getattr(sources, name)
    return type(name, (source,), {"capture": "triggers", "__module__": __name__})


if connection.vendor == "postgresql":
    globals().update({f"Triggered{name}": triggered(name) for name in ORDERS})


def use(settings: Any, *paths: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": list(paths), "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")


@pytest.fixture(autouse=True)
def _triggers(settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    use(settings, *(f"{__name__}.Triggered{name}" for name in ORDERS))
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


@pytest.fixture
def order() -> Any:
    order = Purchase.objects.create(total=10, delivery=Address.objects.create(city="Oslo"))
    forget()
    return order


def forget() -> None:
    outbox.coalesce_left_behind(now=timezone.now())
    Event.objects.all().delete()


def events() -> list[tuple[str, Any]]:
    outbox.coalesce_left_behind(now=timezone.now())
    assert not Change.objects.exists()
    found = list(Event.objects.order_by("sequence"))
    assert [event.error for event in found] == [""] * len(found)
    Event.objects.all().delete()
    return [(event.topic, event.changes) for event in found]


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


VALUES: list[tuple[str, dict[str, Any]]] = [
    ("OddOrder", {"secret": "x"}),
    ("OddOrder", {"details": {"a": [1, {"b": None}], "c": 1.5}}),
    ("OddOrder", {"photo": b"\x00\xff"}),
    ("OddOrder", {"weight": Decimal("1.5")}),
    ("OddOrder", {"due_on": timezone.now()}),
    ("OddOrder", {"origin": "Köln 'x' \\"}),
    ("ListOrder", {"tags": ["a", "b,c"], "prices": [Decimal("1.5"), Decimal(2)]}),
    ("PricedOrder", {"total": shapes.PricedOrder._meta.get_field("total").to_python("7.5")}),
    ("CompositeOrder", {"state": "paid"}),
    ("UuidOrder", {"state": "paid"}),
    ("TextOrder", {"state": "it's"}),
    ("NumberedOrder", {"state": "paid"}),
]


def make(name: str) -> Any:
    keys: dict[str, dict[str, Any]] = {
        "CompositeOrder": {"tenant": 'no"rth', "number": 7},
        "TextOrder": {"code": "T'1"},
        "NumberedOrder": {"number": "N-1"},
    }
    order = getattr(shapes, name)(**keys.get(name, {}))
    order.save()
    return order


@pytest.mark.parametrize(("name", "values"), VALUES, ids=[f"{name}-{next(iter(values))}" for name, values in VALUES])
def test_values_are_those_that_signals_capture(name: str, values: dict[str, Any], settings: Any) -> None:
    found = []
    for path in (f"tests.shapes.sources.{name}", f"{__name__}.Triggered{name}"):
        use(settings, path)
        order = make(name)
        forget()
        for field, value in values.items():
            setattr(order, field, value)
        order.save()
        found.append(events())
        type(order)._base_manager.filter(pk=order.pk).delete()
        forget()
    assert found[0] == found[1]
    assert found[0]


def test_an_order_that_is_created_as_paid() -> None:
    sql(f"INSERT INTO {TABLE} (state, total) VALUES ('paid', 3)")
    changes = {"state": ["open", "paid"]}
    assert events() == [("order.created", changes), ("order.paid", changes)]


def test_an_order_that_a_statement_deletes_is_published_with_its_last_state(order: Any) -> None:
    Payment.objects.create(order=order, amount=4)
    forget()
    with transaction.atomic():
        sql("DELETE FROM shapes_payment")
        sql(f"DELETE FROM {TABLE}")
    outbox.coalesce_left_behind(now=timezone.now())
    (event,) = Event.objects.all()
    assert (event.topic, event.error) == ("order.deleted", "")
    assert payload_of(event)["order"] == {
        "pk": str(order.pk),
        "class": "Purchase",
        "state": "open",
        "paid": ["4.00"],
        "city": "Oslo",
    }


def test_a_line_that_moves_to_another_order(order: Any) -> None:
    other = Purchase.objects.create()
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    forget()
    sql("UPDATE shapes_purchaseline SET order_id = %s", other.pk)
    outbox.coalesce_left_behind(now=timezone.now())
    row = {"id": line.pk, "sku": "TEA"}
    assert {event.order_pk: event.changes for event in Event.objects.all()} == {
        str(order.pk): {"lines": [[row], []]},
        str(other.pk): {"lines": [[], [row]]},
    }


def test_what_the_store_publishes_belongs_to_the_transaction_of_the_triggers(order: Any) -> None:
    with transaction.atomic():
        Purchase.objects.update(state="paid")
        publishing.publish("order.paid", order)
        publishing.publish("parcel.made", order)
    changes = {"state": ["open", "paid"]}
    assert [(topic, found) for topic, found in events()] == [
        ("order.updated", changes),
        ("order.paid", changes),
        ("parcel.made", changes),
    ]


def test_a_save_is_coalesced_by_its_own_process(order: Any) -> None:
    order.total = Decimal(11)
    order.save()
    assert [event.topic for event in Event.objects.all()] == ["order.updated"]
    assert not Change.objects.exists()


def test_a_rollback_takes_the_captured_changes_back(order: Any) -> None:
    with transaction.atomic():
        Purchase.objects.update(state="paid")
        transaction.set_rollback(True)
    assert events() == []


def test_nothing_is_captured_while_nobody_has_subscribed(order: Any) -> None:
    Subscription.objects.all().delete()
    Purchase.objects.update(state="paid")
    assert not Change.objects.exists()


class TestInPlace:
    def test_migrate_puts_them_in_place_and_takes_them_away_with_the_setting(self, settings: Any) -> None:
        assert triggers.differences("default") == []
        use(settings, "tests.shapes.sources.Purchase")
        assert triggers.differences("default") == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE %s", [r"orderhooks\_capture\_%"])
            assert cursor.fetchone() == (0,)
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.TriggeredPurchase"]}
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
        assert {fault.remedy for fault in faults} == {"Run `manage.py migrate`, which puts the triggers in place."}
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
            use(settings, f"{__name__}.TriggeredPurchase")
            other.rollback()
        assert "could not be put in place" in caplog.text
        assert triggers.differences("default")

    def test_a_source_that_triggers_can_not_serve(self, settings: Any) -> None:
        globals()["TriggeredInvoiceOrder"] = triggered("InvoiceOrder")
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.TriggeredInvoiceOrder"]}
        (fault,) = source_trials.static_faults()
        assert (fault.check_id, fault.text) == (
            "E049",
            "shapes.InvoiceOrder has columns in the table of a parent model, where triggers can't follow.",
        )


class TestReports:
    def test_doctor_and_dashboard_say_how_each_source_is_captured(self, client: Any, settings: Any) -> None:
        use(settings, f"{__name__}.TriggeredPurchase", "tests.shapes.sources.OddOrder")
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
