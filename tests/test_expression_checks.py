"""What the schema of a topic tells about an expression before any event has come."""

import pytest

from orderhooks import catalogue, expressions
from orderhooks.expressions import ExpressionError, compiled

pytestmark = pytest.mark.django_db

GOOD = [
    "data.order.currency == 'EUR' && to_number(data.order.total) > `100`",
    "data.order.status == 'cancelled'",
    "data.order.status != 'open' || data.order.is_test",
    "data.order.lines[?sku == 'TEA-1'] | length(@) > `0`",
    "sum(map(&to_number(unit_price), data.order.lines)) > `5`",
    "data.order.metadata.anything.at[0].all == 'gold'",
    "data.changes.status[1] == 'cancelled'",
    "data.changes.lines",
    "contains(data.order.lines[].sku, 'TEA-1')",
    "sort_by(data.order.lines, &quantity)[0].sku == 'x'",
    "max_by(data.order.lines, &to_number(unit_price)).name == 'x'",
    "{id: data.order.id, lines: data.order.lines[].{s: sku, q: quantity}}",
    "[data.order.id, data.order.number][0] == 'x'",
    "data.order.cancelled_at == `null`",
    "data.order.* | length(@) > `3`",
    "not_null(data.order.paid_at, data.order.placed_at) > '2026'",
    "sequence > `5`",
    "!(data.order.is_test)",
    "type(data.order.total) == 'string'",
    "keys(data.changes) | contains(@, 'status')",
    "data.order.shipping_address.country == 'DE'",
]
BAD = [
    ("not(data.order.is_test)", "there is no function not(). For the opposite, write !(…)."),
    ("data.order.currncy == 'EUR'", "At character 12 (“data.order.▸currncy == '”): there is no field 'currncy'. Did"),
    ("data.order.currency == EUR", "For the text, write 'EUR' in single quotation marks."),
    ('data.order.currency == "EUR"', "For the text, write 'EUR' in single quotation marks."),
    ("order.currency == 'EUR'", "there is no field 'order'"),
    ("data.order.status == 'canceled'", "data.order.status is never 'canceled'. Did you mean 'cancelled'?"),
    ("'canceled' != data.order.status", "data.order.status is never 'canceled'."),
    ("type == 'order.paid'", "type is never 'order.paid'."),
    ("data.order.total > `100`", "compared with a number: write to_number(data.order.total)."),
    ("data.order.total == `100`", "compared with a number: write to_number(data.order.total)."),
    ("data.order.lines == 'x'", "are never equal: one is a list, the other a text."),
    ("data.order.lines.sku == 'a'", "Write […].sku for the field of each, or [0].sku."),
    ("data.order.lines[0].skew", "there is no field 'skew'"),
    ("data.order.lines[?skew == 'a']", "there is no field 'skew'"),
    ("data.order.total.amount", "there is no field 'amount', because it is a text."),
    ("data.changes.statuss", "there is no field 'statuss'. Did you mean 'status'?"),
    ("lenght(data.order.lines) > `3`", "At character 1 (“▸lenght(data.”): there is no function lenght(). Did you mean"),
    ("length(data.order.lines, `3`)", "length() takes 1 arguments, not 2."),
    ("not_null()", "not_null() takes at least 1 arguments, not 0."),
    ("starts_with(data.order.number, `1`)", "starts_with() takes a text, and `1` is a number."),
    ("sum(data.order.lines[].unit_price)", "write sum(map(&to_number(@), data.order.lines[].unit_price))."),
    ("ceil(data.order.total) > `3`", "ceil() takes a number, and data.order.total is a text. Write to_number("),
    ("sort_by(data.order.lines, quantity)", "there is no field 'quantity'"),
    ("sort_by(data.order.lines, 'quantity')", "argument 2 of sort_by() is an expression that begins with &."),
    ("length(&data.order)", "argument 1 of length() is a value, without &."),
    ("data.order.lines[::0]", "step 0"),
    ("data.order.total > '5'", "'5' is a text. To compare numbers, write to_number(data.order.total) and `5`."),
    ("data.order.note == null", "At character 20 (“der.note == ▸null”): write `null` in backticks."),
    ("!data.order.is_test", "! takes the next word alone: write !(…) around the whole path."),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_expression_that_can_work_is_accepted(text: str) -> None:
    expressions.check(compiled(text), catalogue.entry("order.updated").schema)


@pytest.mark.parametrize(("text", "fault"), BAD)
def test_an_expression_that_never_works_is_refused_with_a_suggestion(text: str, fault: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        expressions.check(compiled(text), catalogue.entry("order.updated").schema)
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "map(&@," * 40 + "data.order.lines" + ")" * 40,
        "data.order" + "|(@||@)" * 40,
        "data.order.lines" + "|[@,@][]" * 40,
    ],
)
def test_checking_costs_no_more_than_the_expression_is_long(text: str) -> None:
    expressions.check(compiled(text), catalogue.entry("order.updated").schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"data": {"type": "object", "additionalProperties": True, "properties": {}}}},
        {"anyOf": [{"type": "object", "properties": {"other": {}}}, {}]},
        {"$ref": "#/$defs/data", "$defs": {"data": {"properties": {"data": {}}}}},
    ],
)
def test_what_a_schema_leaves_open_is_allowed(schema: dict[str, object]) -> None:
    expressions.check(compiled("data.anything[0].at_all > `5`"), schema)


def test_references_and_combinations_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"data": {"$ref": "#/$defs/order"}},
        "$defs": {"order": {"oneOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {}}}]}},
    }
    expressions.check(compiled("data.a == 'x' || data.b"), schema)
    with pytest.raises(ExpressionError, match="There are: a, b"):
        expressions.check(compiled("data.c"), schema)


@pytest.mark.parametrize("topic", [topic.name for topic in catalogue.offered()])
def test_every_path_of_an_example_is_accepted(topic: str) -> None:
    entry = catalogue.entry(topic)
    for name in entry.example["data"]["order"]:
        expressions.check(compiled(f"data.order.{name}"), entry.schema)
