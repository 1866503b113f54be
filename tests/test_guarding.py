"""P9: whatever fails while a change is captured, the store's save goes on, its transaction too, and a mark is left."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, models, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from orderhooks import signal_handlers
from orderhooks.models import CaptureFailure, Change, Event, Order, OrderLine, Subscription
from orderhooks.outbox.guarding import survivable
from orderhooks.sources import OrderSource
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


class Users(OrderSource):
    name = "users"
    model = "auth.User"
    watched: tuple[str, ...] = ("username", "first_name", "last_name")

    def payload(self, order: User) -> dict[str, object]:
        return {"name": order.username}


class Autocommitted(Users):
    atomic_saves = False


class Misnamed(Users):
    watched = ("username", "colour")


class Broken(Users):
    @property
    def watched(self) -> tuple[str, ...]:  # type: ignore[override]
        raise ZeroDivisionError("a source of the store's own")


@pytest.fixture
def watch(settings: Any) -> Any:
    def watch(source: type[OrderSource]) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"tests.test_guarding.{source.__name__}"]}
        signal_handlers.connect()

    make_subscription()
    return watch


@contextmanager
def without_table(model: type[models.Model]) -> Iterator[None]:
    """As before `migrate` has run. The table is renamed: what points at it stays."""
    name = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


@contextmanager
def handler(signal: Any, sender: Any, receiver: Any) -> Iterator[None]:
    """A handler of another app, called before ours: connected before it."""
    ours = list(signal.receivers)
    signal.receivers = []
    signal.connect(receiver, sender=sender, weak=False)
    signal.receivers += ours
    signal.sender_receivers_cache.clear()
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


@pytest.mark.parametrize("missing", [Subscription, Change])
@pytest.mark.parametrize("in_a_transaction", [False, True], ids=["autocommit", "transaction"])
def test_a_save_goes_through_before_migrate_has_run(missing: Any, in_a_transaction: bool, caplog: Any) -> None:
    make_subscription()
    kept = make_order()
    Event.objects.all().delete()
    caplog.clear()
    with without_table(missing), transaction.atomic() if in_a_transaction else nullcontext():
        kept.payment_status = "paid"
        kept.save()
        # The store goes on in the same transaction.
        Group.objects.create(name="vip")
    assert Order.objects.get().payment_status == "paid"
    assert Group.objects.get().name == "vip"
    assert [record.levelname for record in caplog.records if record.name.startswith("orderhooks")] == ["ERROR"]
    assert "manage.py migrate" in caplog.text
    assert "Traceback" not in caplog.text
    mark = CaptureFailure.objects.get()
    assert (mark.source, mark.order_pk, mark.count) == ("orderhooks", str(kept.pk), 1)
    kept.refresh_from_db()
    kept.payment_status = "refunded"
    kept.save()
    assert [event.topic for event in Event.objects.order_by("sequence")] == ["order.updated", "order.refunded"]


@pytest.mark.by_hand
@pytest.mark.parametrize("missing", [Subscription, Change, CaptureFailure, Event])
def test_every_write_of_the_store_goes_through_without_any_table(missing: Any) -> None:
    make_subscription()
    with without_table(missing):
        order = make_order()
        order.note = "ring twice"
        order.save()
        OrderLine.objects.all().update(quantity=3)
        line = order.lines.get()
        line.quantity = 4
        line.save()
        line.delete()
    assert Order.objects.get().note == "ring twice"


@pytest.mark.parametrize("source", [Misnamed, Broken])
def test_a_source_that_is_wrong_never_raises_into_a_save(source: Any, watch: Any, caplog: Any) -> None:
    watch(source)
    with transaction.atomic():
        user = User.objects.create(username="ada")
        user.username = "ada.l"
        user.save()
        user.save(update_fields=["username"])
    user.delete()
    assert not User.objects.exists()
    assert "was not captured" in caplog.text
    assert CaptureFailure.objects.filter(source="users").exists()


def test_a_change_that_was_rolled_back_leaves_no_mark(watch: Any) -> None:
    watch(Misnamed)
    with transaction.atomic():
        User.objects.create(username="ada")
        transaction.set_rollback(True)
    assert not CaptureFailure.objects.exists()


def test_a_value_that_the_database_can_not_hold_is_marked(watch: Any, monkeypatch: Any) -> None:
    watch(Users)
    monkeypatch.setattr(Change._meta.get_field("subject"), "get_db_prep_save", lambda *_value, **_options: None)
    with transaction.atomic():
        User.objects.create(username="ada")
        Group.objects.create(name="vip")
    assert Group.objects.exists()
    assert User.objects.exists()
    assert CaptureFailure.objects.get().count == 1


def test_a_save_outside_of_a_transaction_makes_an_event_or_is_not_saved(watch: Any) -> None:
    watch(Users)
    user = User.objects.create(username="ada")
    Event.objects.all().delete()

    def refuse(**_signal: Any) -> None:
        raise ValueError("another app's handler")

    user.first_name = "Ada"
    with handler(post_save, User, refuse), pytest.raises(ValueError, match="another app"):
        user.save()
    assert User.objects.get().first_name == ""
    user.save()
    assert Event.objects.get().changes == {"first_name": ["", "Ada"]}


def test_a_source_may_leave_its_saves_to_autocommit(watch: Any) -> None:
    watch(Autocommitted)
    seen: list[bool] = []
    with handler(post_save, User, lambda **_signal: seen.append(connection.in_atomic_block)):
        User.objects.create(username="ada")
    assert seen == [False]
    assert Event.objects.get().topic == "order.created"


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_a_handler_that_saves_the_order_again_hides_no_change(signal: Any, watch: Any) -> None:
    watch(Users)
    user = User.objects.create(username="ada")
    Event.objects.all().delete()

    def save_again(*, instance: User, **_signal: Any) -> None:
        if not instance.last_name:
            instance.last_name = "Byron"
            instance.save()

    user.first_name = "Ada"
    with handler(signal, User, save_again):
        user.save()
    assert Event.objects.get().changes == {"first_name": ["", "Ada"], "last_name": ["", "Byron"]}
    assert not [name for name in vars(user) if "orderhooks" in name]


def test_a_save_that_fails_leaves_nothing_on_the_instance(watch: Any) -> None:
    watch(Users)
    User.objects.create(username="ada")
    other = User.objects.create(username="bea")
    other.username = "ada"
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        other.save()
    assert not [name for name in vars(other) if "orderhooks" in name]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="savepoints are set on PostgreSQL alone")
class TestSavepointsOfPostgreSQL:
    @pytest.mark.by_hand
    def test_a_savepoint_is_sent_with_the_statement_that_it_is_for(self, watch: Any) -> None:
        if "server_side_binding" in connection.settings_dict["OPTIONS"]:
            pytest.skip("the server binds the parameters, of one statement at a time")
        watch(Users)
        user = User.objects.create(username="ada")
        user.first_name = "Ada"
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            user.save()
        sent = [query["sql"].partition(";") for query in queries if query["sql"].startswith("SAVEPOINT")]
        assert sent
        assert all(statement for _savepoint, _semicolon, statement in sent)

    def test_the_server_may_bind_the_parameters(self, watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes one statement at a time then."""
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
        connection.close()
        try:
            watch(Users)
            user = User.objects.create(username="ada")
            user.first_name = "Ada"
            user.save()
            assert Event.objects.filter(topic="order.updated").exists()
        finally:
            connection.close()


def test_bulk_saves_in_a_transaction_cost_no_savepoint_each(watch: Any) -> None:
    watch(Users)
    users = [User.objects.create(username=f"user {number}") for number in range(20)]
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        for user in users:
            user.first_name = "Ada"
            user.save()
    assert len([query for query in queries if query["sql"].startswith("SAVEPOINT")]) <= 5


def test_a_key_that_is_too_long_to_be_kept_is_marked_and_saved(settings: Any) -> None:
    from tests.shapes.models import LongOrder

    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.shapes.sources.LongOrder"]}
    signal_handlers.connect()
    make_subscription()
    with transaction.atomic():
        LongOrder.objects.create(code="short")
        LongOrder.objects.create(code="x" * 300)
        Group.objects.create(name="vip")
    assert Group.objects.exists()
    assert "at most 255" in CaptureFailure.objects.get().error
    assert Event.objects.get().order_pk == "short"


def test_a_transaction_that_the_database_has_given_up_is_not_taken_for_saved(watch: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL gives a transaction up with a statement; run with TEST_DATABASE=postgres")
    watch(Users)
    user = User.objects.create(username="ada")
    other = User.objects.create(username="bob")
    with pytest.raises(DatabaseError), transaction.atomic():
        with connection.cursor() as cursor:
            slow = "CHECK (order_pk = '%s' OR pg_sleep(1) IS NOT NULL) NOT VALID"
            cursor.execute(f"ALTER TABLE orderhooks_change ADD CONSTRAINT slow {slow}" % user.pk)
            cursor.execute("SET LOCAL statement_timeout = 200")
        user.first_name = "Ada"
        user.save()  # captured: what follows needs no savepoint any more
        other.first_name = "Bob"
        other.save()
    assert not User.objects.exclude(first_name="").exists()


def test_a_capture_that_needed_no_statement_proves_nothing_of_the_next() -> None:
    with transaction.atomic():
        with survivable("default", "order"):
            pass
        with pytest.raises(DatabaseError), survivable("default", "order"), connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        assert User.objects.count() == 0, "the store's transaction goes on"


def test_a_row_that_another_transaction_keeps_locked_is_not_blamed_on_a_migration(
    in_a_thread: Any, caplog: Any
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the run on PostgreSQL has this test")
    make_subscription()
    order = make_order(lines=[])
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=order.pk)
            held.set()
            assert done.wait(20)

    in_a_thread(hold)
    assert held.wait(20)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    try:
        order.note = "x"
        with pytest.raises(DatabaseError, match="lock timeout"):
            order.save()
    finally:
        done.set()
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
    assert "kept the row locked" in caplog.text
    assert "migrate" not in caplog.text
