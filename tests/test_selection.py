"""What subscriptions choose beside topics: changed fields, filter and projection, as values are saved and used."""

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as some

from orderhooks import selection, shaping
from orderhooks.models import Event, Subscription
from tests.factories import make_event, make_subscription

pytestmark = pytest.mark.django_db

WATCHED = {"status": (), "shipping_address": (), "lines": ("sku", "quantity"), "fulfillments": ("tracking_number",)}
STATUS = {"status": ["open", "closed"]}
ADDRESS = {"shipping_address": [{"city": "Bonn", "zip": "1"}, {"city": "Köln", "zip": "1"}]}
NEW_ADDRESS = {"shipping_address": [None, {"city": "Köln"}]}
QUANTITY = {"lines": [[{"id": 1, "sku": "a", "quantity": 1}], [{"id": 1, "sku": "a", "quantity": 2}]]}
NO_QUANTITY, ZERO, FALSE = ({"id": 1, "quantity": value} for value in (None, 0, False))
NEW_LINE = {"lines": [[], [{"id": 2, "sku": "b", "quantity": 1}]]}
GONE_LINE = {"lines": [[{"id": 2, "sku": "b", "quantity": 1}], []]}
SHIPPED = {"fulfillments": [[], [{"id": 1, "tracking_number": ""}]]}
TRACKED = {"fulfillments": [[{"id": 1, "tracking_number": ""}], [{"id": 1, "tracking_number": "X1"}]]}


@pytest.mark.parametrize(
    ("changes", "patterns", "touched"),
    [
        (STATUS, ["status"], True),
        (STATUS, ["shipping_address", "lines"], False),
        (STATUS, ["statu"], False),
        (STATUS | QUANTITY, ["lines"], True),
        (ADDRESS, ["shipping_address"], True),
        (ADDRESS, ["shipping_address.city"], True),
        (ADDRESS, ["shipping_address.zip"], False),
        (ADDRESS, ["shipping_address.*"], True),
        (NEW_ADDRESS, ["shipping_address.city"], True),
        (NEW_ADDRESS, ["shipping_address.zip"], False),
        (QUANTITY, ["lines"], True),
        (QUANTITY, ["lines.*"], True),
        (QUANTITY, ["lines.quantity"], True),
        (QUANTITY, ["lines.sku"], False),
        (NEW_LINE, ["lines.sku"], True),
        (GONE_LINE, ["lines.quantity"], True),
        (SHIPPED, ["fulfillments.tracking_number"], False),
        (SHIPPED, ["fulfillments"], True),
        (TRACKED, ["fulfillments.tracking_number"], True),
        ({"lines": [[NO_QUANTITY], [ZERO]]}, ["lines.quantity"], True),
        ({"lines": [[FALSE], [NO_QUANTITY]]}, ["lines.quantity"], True),
        ({"lines": [[ZERO], [ZERO | {"sku": "b"}]]}, ["lines.quantity"], False),
        ({"lines": [[], [ZERO]]}, ["lines.quantity"], False),
        # What can't be told is sent.
        ({}, ["status"], True),
        ({"unknown": [1, 2]}, ["status"], True),
        (STATUS | {"unknown": [1, 2]}, ["lines"], True),
    ],
)
def test_an_update_touches_the_fields_that_changed(changes: Any, patterns: list[str], touched: bool) -> None:
    assert selection.is_touched(changes, patterns, WATCHED) is touched


LEAVES = some.none() | some.integers() | some.text(max_size=3)
ROWS = some.lists(some.dictionaries(some.sampled_from(["id", "sku", "city"]), LEAVES, max_size=3), max_size=2)
VALUES = LEAVES | ROWS | some.dictionaries(some.sampled_from(["id", "sku", "city"]), LEAVES | ROWS, max_size=3)


@given(
    some.dictionaries(some.sampled_from(list(WATCHED)), some.tuples(VALUES, VALUES)),
    some.sampled_from(["status", "lines.sku", "shipping_address.city.name", "lines.*"]),
)
def test_changes_of_any_shape_are_judged(changes: Any, pattern: str) -> None:
    assert selection.is_touched(changes, [pattern], WATCHED) in (True, False)


def faults(**values: Any) -> dict[str, list[str]]:
    try:
        Subscription.create_with_secret(
            **{"name": "CRM", "url": "https://crm.example.org/", "topics": ["order.updated"], **values}
        )
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.parametrize(
    "values",
    [
        {"changed_fields": ["status", "shipping_address.city", "lines", "lines.*", "lines.quantity"]},
        {"filter": "data.order.currency == 'EUR'"},
        {"projection": "{number: data.order.number}"},
        {"projection": "data.order"},
        # The example of the store's own JSON is empty.
        {"filter": "starts_with(data.order.metadata.channel, 'web')"},
        {"projection": "{channels: length(data.order.metadata.channels)}"},
        {"filter": "type == 'order.paid'", "topics": ["order.paid", "order.updated"]},
        {"filter": "type == 'order.paid'", "topics": ["*"]},
        {"filter": "data.order.cancelled_at || data.order.lines[0]"},
        {"filter": "data.order.lines[?sku == 'TEA-1'] | length(@) > `0`"},
        # A topic that no source makes has a schema too.
        {"filter": "data.order.currency == 'EUR'", "topics": ["order.voided"]},
    ],
)
def test_what_can_work_is_saved(values: dict[str, Any]) -> None:
    assert faults(**values) == {}


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("changed_fields", ["statuss"], "No order source captures changes of 'statuss'. Did you mean 'status'?"),
        ("changed_fields", ["lines.quantty"], "Did you mean 'lines.quantity'?"),
        ("changed_fields", ["shipping_address..city"], "has a dot too many"),
        ("changed_fields", ["*"], "Use one of: "),
        ("changed_fields", [5], "A field is a text such as 'shipping_address', not 5."),
        ("changed_fields", "status", 'Name the fields as a list: ["shipping_address", "lines.*"].'),
        ("filter", "data.order.currency = 'EUR'", "write == to compare"),
        ("filter", "data.order.currncy == 'EUR'", "Did you mean 'currency'?"),
        (
            "filter",
            "starts_with(data.order.cancelled_at || `null`, '2026')",
            "It fails on the example of order.updated: starts_with() takes string, and got null here: write `path &&",
        ),
        ("filter", "'x'", "'x' is the same for every event. Compare it with a field"),
        ("filter", "`false`", "`false` is the same for every event."),
        ("filter", "'a' == 'a'", "'a' == 'a' is the same for every event."),
        ("filter", "data.order.status == 'open' || 'cancelled'", "'cancelled' is the same for every event."),
        (
            "filter",
            "to_number(data.order.total)",
            "to_number(data.order.total) is a number, and each number is true, also 0. Compare it: "
            "to_number(data.order.total) > `0`.",
        ),
        ("filter", "!(data.order.lines | length(@))", "is a number, and each number is true"),
        ("projection", "{n: length(data.order.cancelled_at)}", "write `path && …` before it"),
        ("filter", "[@,@]|" * 60 + "to_string(@) == 'x'", "It takes too many steps on this data."),
        ("projection", "data.order.number", "It yields no object. Write an object: {number: data.order.number}."),
        ("projection", "data.order.lines", "It yields a list."),
        ("projection", "data.order.metadata.nothing", "It yields null."),
        ("projection", "{n: data.order.numbr}", "Did you mean 'number'?"),
        ("projection", "{n: `1e999`}", "It holds a number that JSON can't express"),
    ],
)
def test_what_can_never_work_is_refused_at_its_field(field: str, value: Any, fault: str) -> None:
    found = faults(**{field: value})
    assert list(found) == [field]
    assert fault in found[field][0]


def test_what_is_stored_does_not_bar_other_changes() -> None:
    subscription = make_subscription()
    Subscription.objects.filter(pk=subscription.pk).update(filter="data.order.gone == 'x'", changed_fields=["gone"])
    subscription.refresh_from_db()
    subscription.name = "Renamed"
    subscription.save()
    subscription.filter = "data.order.also_gone == 'x'"
    with pytest.raises(ValidationError, match="also_gone"):
        subscription.save()


def body(event: Event, subscription: Subscription) -> Any:
    return json.loads(shaping.shape(event, subscription).body)


def test_a_projection_makes_the_data_and_nothing_else() -> None:
    event = make_event(payload={"order": {"number": "1001", "currency": "EUR"}, "changes": {}})
    plain = body(event, make_subscription())
    shaped = body(event, make_subscription(projection="{nr: data.order.number, topic: type}"))
    assert shaped == {**plain, "data": {"nr": "1001", "topic": event.topic}}


@pytest.mark.parametrize(("projection", "name"), [("@", ""), ("{whole: @}", "whole"), ("merge(@, {more: type})", "")])
def test_a_projection_may_take_the_whole_body(projection: str, name: str) -> None:
    event = make_event(payload={"order": {"number": "1001", "currency": "EUR"}, "changes": {}})
    plain = body(event, make_subscription())

    shaped = body(event, make_subscription(projection=projection))

    taken = shaped["data"][name] if name else shaped["data"]
    assert {**taken, "more": ""} == {**plain, "more": ""}
    assert {**shaped, "data": plain["data"]} == plain


def test_each_attempt_has_the_same_bytes() -> None:
    event = make_event()
    subscription = make_subscription(projection="{z: data.order.number, a: data.order, m: type}")
    again = Event.objects.get(pk=event.pk)
    assert shaping.shape(event, subscription).body == shaping.shape(again, subscription).body


@pytest.mark.parametrize(
    ("projection", "fault"),
    [
        ("data.order.metadata", "The projection fails on this event. It yields null."),
        ("{n: sum(data.order.amounts || `[]`)}", "sum() takes array-number"),
    ],
)
def test_a_projection_that_fails_on_an_event_says_why(projection: str, fault: str) -> None:
    event = make_event(payload={"order": {"amounts": ["1"]}, "changes": {}})
    subscription = make_subscription()
    Subscription.objects.filter(pk=subscription.pk).update(projection=projection)
    subscription.refresh_from_db()
    with pytest.raises(shaping.ShapingError) as failed:
        shaping.shape(event, subscription)
    assert failed.value.kind == "projection"
    assert fault in str(failed.value)
