"""Two processes at once, on a database that lets them: nothing is published twice, nothing is taken twice."""

import threading
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import DataError, InternalError, OperationalError, connection, transaction
from django.utils import timezone

from orderhooks import outbox, pumping, routing, sending, tasks
from orderhooks.db import locks
from orderhooks.models import Attempt, Change, Delivery, Event, Order, Subscription
from orderhooks.models.subscriptions import declaration_lock
from orderhooks.transport import Outcome
from tests.commands.calls import called
from tests.factories import claim, make_delivery, make_event, make_order, make_subscription
from tests.receivers import Answer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _rows_are_locked_one_by_one() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")


def wait_until_somebody_waits_for_a_lock() -> None:
    deadline = timezone.now() + timedelta(seconds=20)
    while timezone.now() < deadline:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_stat_clear_snapshot()")  # otherwise a transaction sees the same one again
            else:
                cursor.execute("DO SLEEP(0.2)")  # MariaDB looks again only if there was no query for 0.1 s
            cursor.execute(WAITING_FOR_A_LOCK[connection.vendor])
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits for a lock")


WAITING_FOR_A_LOCK = {
    "postgresql": """SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()""",
    "mysql": """SELECT count(*) FROM information_schema.processlist
        LEFT JOIN information_schema.innodb_trx ON id = trx_mysql_thread_id
        WHERE (trx_state = 'LOCK WAIT' OR state = 'User lock') AND db = DATABASE()""",
}


def test_two_saves_of_the_same_change_publish_it_once(in_a_thread) -> None:
    make_subscription()
    order = make_order()
    Event.objects.all().delete()

    def pay() -> None:
        other = Order.objects.get(pk=order.pk)
        other.payment_status = "paid"
        other.save()

    with transaction.atomic():
        order.payment_status = "paid"
        order.save()
        thread = in_a_thread(pay)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)
    assert Event.objects.filter(topic="order.paid").count() == 1


@pytest.mark.by_hand
def test_coalescing_an_order_twice_at_once_makes_its_events_once(in_a_thread, monkeypatch) -> None:
    make_subscription()
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_kwargs: [])
        order = make_order(lines=[])
    change = Change.objects.get()

    def coalesce() -> None:
        outbox.coalesce(change.source, change.order_pk, now=timezone.now())

    with transaction.atomic():
        coalesce()
        thread = in_a_thread(coalesce)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)
    assert Event.objects.filter(order_number=order.number).count() == 1


def test_a_claim_passes_by_what_another_worker_is_claiming(in_a_thread) -> None:
    subscription = make_subscription()
    for _ in range(4):
        make_delivery(subscription=subscription, event=make_event())
    theirs: list[Delivery] = []

    with transaction.atomic():
        mine = claim(2)
        in_a_thread(lambda: theirs.extend(claim(4))).join(20)
    assert len(mine) == len(theirs) == 2
    assert {one.pk for one in mine}.isdisjoint(one.pk for one in theirs)


def test_of_two_workers_that_recover_one_delivery_one_wins(in_a_thread) -> None:
    make_delivery(state="sending", attempts_made=1)
    later = timezone.now() + timedelta(minutes=5)
    with transaction.atomic():
        sending.recover(now=later)
        in_a_thread(lambda: sending.recover(now=later)).join(20)
    assert Attempt.objects.count() == 1


def test_a_process_that_is_stopped_in_a_transaction_does_not_hold_its_locks(in_a_thread, monkeypatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("this database ends no transaction of a process that is stopped; run with TEST_DATABASE=postgres")
    monkeypatch.setattr(locks, "STOPPED_AFTER_MS", 200)
    subscription = make_subscription()
    rows = Subscription.objects.select_for_update().filter(pk=subscription.pk)

    def wait_for_it() -> None:
        with transaction.atomic():
            rows.get()

    with pytest.raises(InternalError), locks.brief_transaction("default"):
        rows.get()
        in_a_thread(wait_for_it).join(20)  # says nothing meanwhile
        rows.get()
    connection.close()


def test_a_result_waits_for_a_row_that_somebody_else_has_locked(in_a_thread, receiver) -> None:
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    claimed, locked, looked = threading.Event(), threading.Event(), threading.Event()

    def send() -> None:
        with sending.Sender(threads=1) as sender:
            assert sender.claim(now=timezone.now()) == 1
            claimed.set()
            while not sender.locked:
                sender.collect(wait_seconds=0.1)
            looked.set()

    receiver.answer = lambda count: Answer() if locked.wait(20) else Answer(500)
    thread = in_a_thread(send)
    assert claimed.wait(20)
    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=delivery.pk)
        locked.set()
        assert looked.wait(20)
    thread.join(20)
    delivery.refresh_from_db()
    assert (delivery.state, len(receiver.received)) == ("delivered", 1)


def test_a_subscription_that_somebody_keeps_locked_does_not_hold_up_what_is_due(in_a_thread, receiver, caplog) -> None:
    locked, free = make_subscription(), make_subscription(url=receiver.url)
    event = make_event(routed_at=None)
    due = make_delivery(subscription=free)
    with transaction.atomic():
        Subscription.objects.select_for_update().get(pk=locked.pk)
        in_a_thread(tasks.pump).join(20)
        due.refresh_from_db()
        assert due.state == "delivered"
        assert "another process keeps a subscription locked" in caplog.text
    assert not event.deliveries.exists()
    tasks.pump()
    assert event.deliveries.count() == 2


def refused() -> OperationalError:
    """Of PostgreSQL: a limit of its own is exceeded."""
    error = OperationalError("too many elements")
    error.__cause__ = psycopg.errors.ProgramLimitExceeded()
    return error


@pytest.mark.parametrize("error", [DataError("too long"), refused()])
def test_events_that_can_not_be_routed_do_not_hold_up_what_is_due(error, receiver, monkeypatch, caplog) -> None:
    due = make_delivery(subscription=make_subscription(url=receiver.url))
    event = make_event(routed_at=None)

    def fail(**_options: object) -> int:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(routing, "route", fail)
        turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: None, lingers=False)
        # Another turn at once would be refused too.
        assert not turn.run(until=time.monotonic() + 10)
    due.refresh_from_db()
    assert due.state == "delivered"
    assert "new events can't be routed" in caplog.text
    tasks.pump()
    assert event.deliveries.count() == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_subscription_can_be_deleted_while_an_event_is_routed_to_it(in_a_thread, many: bool) -> None:
    subscription = make_subscription()
    make_event(routed_at=None)
    with transaction.atomic():
        assert routing.route(now=timezone.now()) == 1
        connection.check_constraints()  # as the commit does
        thread = in_a_thread(Subscription.objects.all().delete if many else subscription.delete)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)
    assert not Subscription.objects.exists()
    assert not Delivery.objects.exists()


def test_a_subscription_can_be_deleted_while_an_attempt_is_written_down(in_a_thread) -> None:
    delivery = make_delivery()
    [claimed] = claim()
    with transaction.atomic():
        sending.record([sending.Sent(claimed, {}, timezone.now(), Outcome(status_code=200))], now=timezone.now())
        thread = in_a_thread(delivery.subscription.delete)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)
    assert not Attempt.objects.exists()


def test_events_are_routed_to_the_others_while_a_subscription_is_deleted(in_a_thread) -> None:
    gone, other = make_subscription(), make_subscription()
    event = make_event(routed_at=None)
    with transaction.atomic():
        gone.delete()
        thread = in_a_thread(tasks.pump)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)
    tasks.pump()
    assert [delivery.subscription for delivery in event.deliveries.all()] == [other]


def test_a_file_and_a_program_that_declare_the_same_subscription_make_one(in_a_thread, tmp_path) -> None:
    file = tmp_path / "subscriptions.toml"
    declared = '[[subscriptions]]\nname = "{}"\nurl = "http://127.0.0.1:8000/hooks"\ntopics = ["*"]\n'
    file.write_text(declared.format("A") + declared.format("CRM"))
    # As `PUT subscriptions/by-name/CRM/` does.
    with declaration_lock("CRM"):
        thread = in_a_thread(lambda: called("orderhooks_apply", file))
        wait_until_somebody_waits_for_a_lock()
        make_subscription(name="CRM")
    thread.join(20)
    assert sorted(Subscription.objects.values_list("name", "url")) == [
        ("A", "http://127.0.0.1:8000/hooks"),
        ("CRM", "http://127.0.0.1:8000/hooks"),
    ]
