"""P1 and P3: a store's code that fails leaves the order saved, and an event that says why."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from orderhooks import outbox, publishing
from orderhooks.models import Change, Event, Order, OrderLine
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


def test_an_order_whose_code_kills_its_worker_ends_as_an_event_with_the_reason(monkeypatch) -> None:
    make_subscription()
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        make_order(lines=[])
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
