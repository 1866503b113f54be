"""P1 and P3: a store's code that fails leaves the order saved, and an event that says why."""

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from orderhooks import outbox, publishing, pumping, routing
from orderhooks.models import Change, Delivery, Event, Order, OrderLine
from orderhooks.outbox import coalescing, taking
from orderhooks.signals import event_published
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_quiet_order, make_subscription
from tests.publications import PAID, payload_of, published

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order() -> Order:
    return make_quiet_order()


class Moody(BuiltInOrders):
    """The built-in orders, told by code that fails as the test wants."""

    problem: Exception | None = None
    extra: object = None

    def payload(self, order: Any) -> dict[str, Any]:
        if isinstance(self.problem, Exception):
            raise self.problem
        if self.problem is not None:
            Order.objects.raw("SELECT id FROM nowhere")[0]
        return {**super().payload(order), "extra": self.extra}


@pytest.fixture
def moody(settings) -> Iterator[type[Moody]]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_publishing_failures.Moody"]}
    yield Moody
    Moody.problem = Moody.extra = None


@pytest.mark.parametrize("moment", ["created", "changed", "deleted"])
def test_a_payload_builder_that_raises_leaves_the_order_saved_and_the_event_visible(moody, moment: str) -> None:
    make_subscription()
    order = make_order() if moment != "created" else Order()
    Event.objects.all().delete()
    moody.problem = ZeroDivisionError("no such tax")
    order.note = "x"
    if moment == "deleted":
        order.delete()
    else:
        order.save()
        assert Order.objects.get(pk=order.pk).note == "x"
    event = Event.objects.get()
    assert event.error == "ZeroDivisionError: no such tax"
    assert event.published_at is None
    assert event.payload is None


def test_a_builder_that_breaks_the_database_transaction_is_contained(order: Order, moody) -> None:
    moody.problem = "a broken query"
    order.payment_status = "paid"
    order.save()
    assert published() == ["order.updated", "order.paid"]
    assert "nowhere" in Event.objects.earliest("sequence").error


@pytest.mark.parametrize("extra", [float("nan"), object(), "\ud800", "nul \x00", uuid.uuid4()])
def test_a_payload_that_json_or_the_database_can_not_hold_is_an_error_of_the_event(order, moody, extra) -> None:
    moody.extra = extra
    order.note = "x"
    order.save()
    assert Event.objects.get().error
    assert Event.objects.get().published_at is None


def test_a_repaired_event_is_published_again_and_goes_out_once(order: Order, moody) -> None:
    moody.problem = ValueError("not now")
    order.payment_status = "paid"
    order.save()
    event = Event.objects.get(topic="order.paid")
    moody.problem = ValueError("still not")
    assert publishing.republish(event) is False
    assert event.error == "ValueError: still not"
    moody.problem = None
    assert publishing.republish(event) is True
    assert event.error == ""
    assert payload_of(event)["changes"] == PAID
    assert publishing.republish(event) is False
    assert list(Event.objects.unrouted()) == [event]


def test_an_event_of_a_source_that_was_removed_says_so(order: Order, settings, moody) -> None:
    moody.problem = ValueError("first")
    order.payment_status = "paid"
    order.save()
    event = Event.objects.get(topic="order.paid")
    Event.objects.filter(pk=event.pk).update(source="gone")
    event.refresh_from_db()
    assert publishing.republish(event) is False
    assert "SOURCES" in event.error


def test_an_order_that_vanished_unseen_is_an_error_of_the_event(order: Order, monkeypatch) -> None:
    with transaction.atomic():
        order.note = "x"
        order.save()
        OrderLine.objects.all()._raw_delete(using="default")
        Order.objects.all()._raw_delete(using="default")
    assert "its deletion was not captured" in Event.objects.get().error


@pytest.mark.by_hand
def test_coalescing_that_fails_leaves_the_order_saved_and_its_changes_there(order: Order, monkeypatch, caplog) -> None:
    def broken(*_args, **_kwargs):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", broken)
        order.payment_status = "paid"
        order.save()
    assert "could not coalesce" in caplog.text
    change = Change.objects.get()
    assert outbox.coalesce_left_behind(now=change.created_at) == []
    outbox.coalesce_left_behind(now=change.created_at + outbox.LEFT_BEHIND_AFTER * 2)
    assert published() == ["order.updated", "order.paid"]


@pytest.mark.by_hand
def test_an_order_whose_code_kills_its_worker_ends_as_an_event_with_the_reason(monkeypatch) -> None:
    make_subscription(store="berlin")
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        order = make_order(lines=[], store="berlin")
    later = timezone.now() + timedelta(minutes=1)

    class DiedError(BaseException):
        """Stands for the end of the process: nothing after it runs."""

    def die(*_args: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(BuiltInOrders, "payload", die)
        for _ in range(outbox.MAX_COALESCE_ATTEMPTS):
            with pytest.raises(DiedError):
                outbox.coalesce_left_behind(now=later)
            assert outbox.coalesce_left_behind(now=later) == [], "other workers leave it to the one that died"
            later += timedelta(minutes=1)
        [event] = outbox.coalesce_left_behind(now=later)
    assert event.topic == "order.created"
    assert "killed its worker 3 times" in event.error
    assert event.published_at is None
    assert published() == ["order.created"]
    assert publishing.republish(event), "once fixed, it can be published"
    assert (event.order_number, event.store) == (order.number, "berlin"), "its store's subscriptions get it"
    assert routing.route(now=timezone.now()) == 1
    assert Delivery.objects.get().state == "pending"


def fails(*_arguments: object) -> Any:
    raise OSError("no")


def test_an_event_that_is_published_later_comes_last_and_is_announced_then(monkeypatch) -> None:
    make_subscription()
    announced: list[str] = []

    def note(event: Event, **_others: Any) -> None:
        announced.append(event.topic)

    event_published.connect(note)
    with monkeypatch.context() as patch:
        patch.setattr(BuiltInOrders, "payload", fails)
        order = make_order(lines=[])
    event = Event.objects.get()
    assert (event.error, announced) == ("OSError: no", [])
    order.note = "x"
    order.save()
    updated = Event.objects.latest("sequence")
    was = event.public_id
    assert publishing.republish(event)
    event_published.disconnect(note)
    assert announced == ["order.updated", "order.created"]
    assert published() == ["order.updated", "order.created"], "a consumer that is past the second one gets it"
    assert (event.public_id, event.pk > updated.pk) == (was, True)
    assert payload_of(Event.objects.get(pk=event.pk))["order"]["note"] == "x"
    assert not publishing.republish(event), "it is published once"


@pytest.mark.by_hand
def test_what_a_worker_can_not_publish_is_not_announced(monkeypatch) -> None:
    make_subscription()
    announced: list[Event] = []

    def note(event: Event, **_others: Any) -> None:
        announced.append(event)

    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        make_order(lines=[])
    Change.objects.update(source="gone", created_at=timezone.now() - timedelta(minutes=1))
    event_published.connect(note)
    try:
        pumping.Turn(other_work=lambda: False, notices_due=lambda: None, lingers=False).run(until=time.monotonic() + 20)
    finally:
        event_published.disconnect(note)
    assert "UnknownSourceError" in Event.objects.get().error
    assert announced == []


@pytest.mark.by_hand
def test_the_orders_that_were_coalesced_before_an_error_are_announced(monkeypatch) -> None:
    make_subscription()
    monkeypatch.setattr(coalescing, "COALESCE_TOGETHER", 2)
    announced: list[str] = []

    def note(event: Event, **_others: Any) -> None:
        announced.append(event.order_pk)

    take = taking.take_many
    calls: list[int] = []

    def fail_the_second_time(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return take(*arguments, **options)

    monkeypatch.setattr(coalescing, "take_many", fail_the_second_time)
    event_published.connect(note)
    try:
        with transaction.atomic():
            orders = [make_order(lines=[]) for _ in range(4)]
    finally:
        event_published.disconnect(note)
    assert sorted(announced) == sorted(str(order.pk) for order in orders)
    assert len(published()) == 4
