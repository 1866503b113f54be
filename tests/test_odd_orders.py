"""Orders that are hard to store or to publish: long names, deep and odd data, keys that don't count up."""

import copy
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import QuerySet

from orderhooks import outbox, payloads, previews, publishing
from orderhooks.models import Event, Order
from orderhooks.sources import BuiltInOrders, OrderSource
from tests.factories import make_order, make_subscription
from tests.publications import payload_of


def nested(depth: int, inside: Any = 1) -> Any:
    for _ in range(depth):
        inside = {"a": inside}
    return inside


class Told(BuiltInOrders):
    """The built-in orders with a number, a store and data of the test's choosing."""

    own_number, own_store, extra = "1001", "", None

    def number(self, order: Any) -> Any:
        return self.own_number

    def store(self, order: Any) -> Any:
        return self.own_store

    def payload(self, order: Any) -> dict[str, Any]:
        return {**super().payload(order), "extra": self.extra}


@pytest.fixture
def told(settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Event]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_odd_orders.Told"]}
    make_subscription()

    def tell(**given: Any) -> Event:
        for name, value in given.items():
            monkeypatch.setattr(Told, name, value)
        make_order(lines=[])
        return Event.objects.get()

    return tell


def circle() -> list[Any]:
    data: list[Any] = []
    data.append(data)
    return data


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("number", "store"), [("7" * 128, "Kiel" * 25), ("ü" * 255, "ß" * 255)])
def test_long_numbers_and_stores_are_kept(told, number: str, store: str) -> None:
    event = told(own_number=number, own_store=store)
    assert (event.order_number, event.store, event.error) == (number, store, "")


@pytest.mark.django_db(transaction=True)
def test_a_built_in_order_may_have_a_long_number_and_store() -> None:
    make_subscription()
    order = make_order(lines=[], number="N" * 128, store="s" * 128)
    assert Event.objects.get().order_number == order.number


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"own_number": "7" * 256}, "number has 256 characters; at most 255"),
        ({"own_store": "7" * 300}, "store has 300 characters; at most 255"),
        ({"own_number": "7\x00"}, "NUL"),
        ({"own_store": "\ud800"}, "surrogate"),
        ({"extra": nested(600)}, "nested deeper than 100 levels"),
        ({"extra": nested(100_000)}, "nested deeper than 100 levels"),
        ({"extra": circle()}, "nested deeper than 100 levels"),
        ({"extra": float("nan")}, "a number that JSON can't express"),
        ({"extra": float("inf")}, "a number that JSON can't express"),
        ({"extra": {"\ud800": 1}}, "surrogate"),
        ({"extra": {"\x00": 1}}, "NUL"),
        ({"extra": "x" * payloads.MAX_BYTES}, "bytes, more than"),
        ({"extra": object()}, "not JSON serializable"),
    ],
)
def test_what_can_not_be_kept_is_an_event_that_says_so(told, given: dict[str, Any], sentence: str) -> None:
    event = told(**given)
    assert sentence in event.error
    assert event.published_at is None
    assert event.order_number
    assert len(event.order_number) <= 255


@pytest.mark.django_db(transaction=True)
def test_a_text_that_only_spells_nul_is_sent(told) -> None:
    assert told(extra="\\u0000").payload["order"]["extra"] == "\\u0000"


@pytest.mark.django_db(transaction=True)
def test_an_order_with_deep_metadata_is_saved_and_its_events_say_so_until_it_is_flatter() -> None:
    if connection.vendor == "mysql":
        pytest.skip("MariaDB takes no JSON that is nested deeper than 32 levels: the save itself fails")
    make_subscription()
    order = make_order(lines=[])
    Event.objects.all().delete()
    order.metadata = nested(600)
    order.note = "x"
    order.save()
    event = Event.objects.get()
    assert "nested deeper than 100 levels" in event.error
    assert event.changes == {"note": ["", "x"]}
    order.metadata = {}
    order.save()
    assert publishing.republish(event)


@pytest.mark.parametrize("value", [nested(51), float("nan"), {"a": "\x00"}, {"a": "\ud800"}])
@pytest.mark.parametrize("field", ["metadata", "billing_address", "shipping_address"])
def test_the_validation_of_an_order_refuses_what_could_not_be_sent(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Order(**{field: value}).clean_fields()
    assert "can't be sent to receivers: It " in refused.value.message_dict[field][0]


def test_the_validation_of_an_order_takes_what_is_passed_through() -> None:
    Order(number="1", metadata=nested(49), shipping_address={"city": "Łódź"}).clean_fields()


def model(key: models.Field, *, latest: Any = None, made: bool = False) -> type[models.Model]:
    options = {"app_label": "shop", "managed": False, **({"get_latest_by": latest} if latest else {})}
    fields: dict[str, Any] = {"id": key, "placed": models.DateTimeField()}
    if made:
        fields["made"] = models.DateTimeField(auto_now_add=True)
    name = f"Order{uuid.uuid4().hex}"
    return type(name, (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), options), **fields})


def a_uuid() -> models.Field:
    return models.UUIDField(primary_key=True, default=uuid.uuid4)


@pytest.mark.parametrize(
    ("of", "own_rule", "expected"),
    [
        (lambda: model(models.BigAutoField(primary_key=True), made=True), (), ("-pk",)),
        (lambda: model(a_uuid()), (), ("-pk",)),
        (lambda: model(a_uuid(), made=True), (), ("-made", "-pk")),
        (lambda: model(a_uuid(), made=True, latest="placed"), (), ("-placed",)),
        (lambda: model(a_uuid(), latest=["-placed", "id"]), (), ("placed", "-id")),
        (lambda: model(a_uuid(), made=True, latest="made"), ("-placed",), ("-placed",)),
    ],
)
def test_the_newest_order_is_the_newest_by_the_sources_own_rule(of, own_rule, expected) -> None:
    class Shop(OrderSource):
        newest_first = own_rule

        def get_model(self) -> type[models.Model]:
            return made

    made = of()
    assert Shop().newest(using="default").query.order_by == expected


@pytest.mark.django_db
def test_a_preview_without_a_number_shows_the_sources_newest_order(settings, monkeypatch) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_odd_orders.Told"]}
    first, _second = make_order(lines=[], placed_at="2027-01-01T00:00Z"), make_order(lines=[])
    monkeypatch.setattr(Told, "newest_first", ("-placed_at",))
    assert previews.find_order()[1] == first


def unseen(order: Order, **values: Any) -> None:
    """An update that orderhooks does not capture."""
    QuerySet(Order).filter(pk=order.pk).update(**values)


@pytest.mark.django_db(transaction=True)
class TestPublishWithChanges:
    @pytest.fixture
    def order(self) -> Order:
        make_subscription()
        order = make_order(lines=[])
        Event.objects.all().delete()
        return order

    def test_an_update_is_published_like_a_save(self, order: Order) -> None:
        unseen(order, payment_status="paid", total="7.5")
        changes = {"payment_status": ("pending", "paid"), "total": [0, "7.5"], "note": ["", ""]}
        publishing.publish("order.paid", order, changes=changes)
        events = Event.objects.order_by("sequence")
        assert [event.topic for event in events] == ["order.updated", "order.paid"]
        for event in events:
            assert event.changes == {"payment_status": ["pending", "paid"], "total": ["0.00", "7.50"]}
            assert payload_of(event)["order"]["total"] == "7.50"

    def test_without_changes_only_the_topic_is_published(self, order: Order) -> None:
        publishing.publish("order.paid", order)
        assert [(event.topic, event.changes) for event in Event.objects.all()] == [("order.paid", {})]

    def test_explicit_changes_are_undone_for_an_earlier_event(self, order: Order, monkeypatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
            order.note = "first"
            order.save()
        unseen(order, payment_status="paid")
        publishing.publish("order.paid", order, changes={"payment_status": ["pending", "paid"]})
        shown = [payload_of(event)["order"]["payment_status"] for event in Event.objects.order_by("sequence")]
        assert shown == ["pending", "paid", "paid"]

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"payment_state": ["a", "b"]}, "not of 'payment_state'. Watched are: number, store"),
            ({"note": "ab"}, r"\[old, new\]"),
            ({"note": ["a"]}, r"\[old, new\]"),
            ({"note": None}, r"\[old, new\]"),
        ],
    )
    def test_what_is_not_a_change_is_refused(self, order: Order, changes, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            publishing.publish("order.paid", order, changes=copy.copy(changes))
        assert not Event.objects.exists()
        assert connection.get_autocommit()
