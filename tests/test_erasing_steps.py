"""Erasing in steps: beside workers and saves, killed and resumed, by the command."""

import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import (
    erasing,
    operations,
    pumping,
    routing,
    sending,
    sources,
    triggers,
)
from orderhooks.erasing import steps
from orderhooks.models import (
    Attempt,
    Change,
    Delivery,
    Erasure,
    Event,
)
from orderhooks.operations import ErasureError
from orderhooks.payloads import REDACTED
from orderhooks.sending.recording import Sent
from orderhooks.sources import BuiltInOrders
from orderhooks.transport import Outcome
from tests.erasures import ADA, VALUES, ada_ordered, erase, everything_stored, left_of, pump
from tests.factories import (
    claim_one,
    make_attempt,
    make_subscription,
)

pytestmark = pytest.mark.django_db(transaction=True)


class TestSendingAndErasing:
    def test_deliveries_that_wait_are_sent_with_the_erased_payload(self, receiver):
        make_subscription(url=receiver.url)
        ada_ordered()
        erase(customer=ADA)

        pump()

        bodies = [request.body.decode() for request in receiver.received]
        assert len(bodies) == Event.objects.count()
        assert not [body for body in bodies if any(value in body for value in VALUES)]

    def test_a_delivery_under_way_is_taken_from_its_worker_and_sent_again(self):
        make_subscription()
        ada_ordered()
        routing.route(now=timezone.now())
        delivery = claim_one()

        erase(customer=ADA)
        outcome = Outcome(status_code=200, response_body=f"thanks, {ADA}")
        sending.record([Sent(delivery, {}, timezone.now(), outcome)], now=timezone.now())

        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.PENDING
        assert left_of(VALUES) == []


class TestSteps:
    def test_no_transaction_changes_more_rows_than_its_limit(self, monkeypatch):
        monkeypatch.setattr(steps, "ROWS", 7)
        make_subscription()
        make_subscription()
        ada_ordered()
        routing.route(now=timezone.now())
        for delivery in Delivery.objects.all():
            make_attempt(delivery, response_body=ADA)
        erasure = operations.erase(customer=ADA)
        gone_through = [
            erasure.events + erasure.deliveries + erasure.attempts for _step in operations.carry_out(erasure)
        ]

        assert all(later - former <= 7 for former, later in zip([0, *gone_through], gone_through, strict=False))
        assert erasure.events == Event.objects.exclude(topic=REDACTED).count()
        assert erasure.deliveries == Delivery.objects.exclude(event__topic=REDACTED).count()
        assert erasure.attempts == Attempt.objects.count()
        assert left_of(VALUES) == []

    def test_one_that_was_killed_is_resumed_by_the_same_request(self, monkeypatch):
        monkeypatch.setattr(steps, "ROWS", 3)
        make_subscription()
        ada_ordered()
        ada_ordered()
        first = operations.erase(customer=ADA)
        erasing.advance(first)
        erasing.advance(first)

        second = erase(customer=ADA)

        assert second.pk == first.pk
        assert left_of(VALUES) == []
        assert Event.objects.filter(topic=REDACTED).count() == 2

    def test_a_worker_finishes_one(self):
        make_subscription(state="paused")
        ada_ordered()
        erasure = operations.erase(customer=ADA)

        pump()

        erasure.refresh_from_db()
        assert erasure.state == "finished"
        assert left_of(VALUES) == []

    def test_a_second_one_finds_nothing(self):
        make_subscription()
        ada_ordered()
        erase(customer=ADA)

        with pytest.raises(ErasureError, match="Nothing is stored of"):
            operations.erase(customer=ADA)

    def test_an_order_source_that_fails_does_not_stop_the_worker(self, monkeypatch, receiver, caplog):
        make_subscription(url=receiver.url)
        ada_ordered()
        operations.erase(customer=ADA)
        monkeypatch.setattr(sources, "personal_data_of", lambda source: 1 / 0)

        pump()

        assert "can't go on" in caplog.text
        assert receiver.received

    def test_a_step_that_fails_leaves_all_as_it_was(self, monkeypatch):
        make_subscription()
        order = ada_ordered()
        erasure = operations.erase(customer=ADA)
        before = everything_stored()
        monkeypatch.setattr(Erasure, "end_order", lambda self: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            erasing.advance(erasure)

        assert everything_stored() == before
        order.refresh_from_db()
        assert order.customer_email == ADA

    def test_nothing_of_the_request_is_kept(self):
        make_subscription()
        ada_ordered()

        erasure = erase(customer=ADA)

        erasure.refresh_from_db()
        assert erasure.request_digest == ""
        assert left_of([ADA]) == []

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer")
    def test_two_processes_do_not_erase_twice(self, in_a_thread):
        make_subscription()
        ada_ordered()
        erasure = operations.erase(customer=ADA)
        with transaction.atomic():
            Erasure.objects.select_for_update().get(pk=erasure.pk)
            found = []
            in_a_thread(lambda: found.append(erasing.advance(Erasure.objects.get(pk=erasure.pk)))).join(20)

        assert [(step.moved, step.is_running) for step in found] == [(False, True)]

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer")
    def test_a_change_that_is_being_saved_is_erased_too(self, in_a_thread):
        make_subscription()
        order = ada_ordered()
        erasure = operations.erase(customer=ADA)
        with transaction.atomic():
            order.note = "Surrey7 again"
            order.save()
            thread = in_a_thread(lambda: [None for _step in operations.carry_out(erasure)])
            thread.join(0.3)
            assert thread.is_alive()
        thread.join(20)

        assert left_of(VALUES) == []
        order.refresh_from_db()
        assert order.note == ""


class TestTheCommand:
    def call(self, **options: Any) -> str:
        out = StringIO()
        call_command("orderhooks_erase", stdout=out, **options)
        return out.getvalue()

    def test_it_counts_erases_and_says_so(self):
        make_subscription()
        ada_ordered()

        counted = self.call(customer=ADA, dry_run=True)
        events = Event.objects.count()
        expected = f"1 order: {events} events, 0 deliveries, 0 attempts."
        assert f"It would erase the personal data of {expected}" in counted
        assert "Paths of stored payloads that hold some: billing_address, cancel_reason, customer, note," in counted
        assert not Erasure.objects.exists()
        said = self.call(customer=ADA)

        assert f"Erased: {expected}" in said
        assert left_of(VALUES) == []
        assert Erasure.objects.get().requested_by.endswith("the command line")

    def test_an_order_without_payloads_has_no_paths(self):
        ada_ordered()

        assert "Paths of stored payloads that hold some: none." in self.call(customer=ADA, dry_run=True)

    def test_what_is_not_found_is_an_error(self):
        with pytest.raises(CommandError, match="Nothing is stored of"):
            self.call(customer=ADA)


class TriggeredOrders(BuiltInOrders):
    capture = "triggers"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are for PostgreSQL")
def test_triggers_capture_nothing_of_the_blanking(settings):
    own = settings.ORDERHOOKS
    settings.ORDERHOOKS = {**own, "SOURCES": [f"{__name__}.TriggeredOrders"]}
    triggers.install_after_migrate(using="default")
    try:
        make_subscription()
        ada_ordered()
        pump()
        erase(customer=ADA)
        pump()

        assert left_of(VALUES) == []
        assert not Change.objects.exists()
        assert Event.objects.latest("sequence").topic == REDACTED
    finally:
        settings.ORDERHOOKS = own
        triggers.install_after_migrate(using="default")


def test_one_that_can_not_go_on_keeps_no_worker_busy(monkeypatch, caplog) -> None:
    def broken(_erasure: Erasure) -> erasing.Step:
        raise RuntimeError("the order source is broken")

    ada_ordered()
    pump()
    erasure = operations.erase(customer=ADA)
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "advance", broken)
        patch.setattr(pumping, "BEAT_SECONDS", 0.0)
        turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: None)
        assert not turn.run(until=time.monotonic() + 10), "another turn would follow at once, without end"
    assert caplog.text.count("can't go on") == 1
    pump()
    erasure.refresh_from_db()
    assert not erasure.is_running, "the next turn tries again"
