"""Expressions: what they yield, how they are refused, and what they may cost."""

import contextlib
from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as some

from orderhooks import expressions
from orderhooks.expressions import EvaluationError, ExpressionError, compiled
from orderhooks.expressions.compiled import DEEPEST, LONGEST
from orderhooks.expressions.texts import text_of

BODY = {
    "type": "order.paid",
    "data": {
        "order": {
            "currency": "USD",
            "total": "120.50",
            "note": "",
            "count": 0,
            "lines": [{"sku": "a", "quantity": 2, "price": "9.50"}, {"sku": "b", "quantity": 1, "price": "3"}],
            "with-dash": [[1, 2], [3]],
            "address": {"city": "Köln", "zip": None},
        }
    },
}
# Each kind of node that the language has.
EXPRESSIONS = [
    "data.order.currency",
    "data.order.currency == 'USD' && to_number(data.order.total) > `100`",
    "data.order.currency == 'EUR' || data.order.note",
    "!data.order.note",
    "!data.order.count",
    "data.order.lines[0].sku",
    "data.order.lines[-1]",
    "data.order.lines[5]",
    "data.order.lines[::-1].sku",
    "data.order.lines[*].quantity",
    "data.order.lines[?quantity > `1`].sku",
    "data.order.lines[?quantity > `1`] | length(@)",
    'data.order."with-dash"[]',
    'data.order."with-dash"[][] | [0]',
    "data.order.address.*",
    "data.order.{c: currency, l: lines[].{s: sku, q: quantity}}",
    "[type, data.order.currency]",
    "sum(map(&to_number(price), data.order.lines))",
    "sort_by(data.order.lines, &quantity)[0].sku",
    "max_by(data.order.lines, &to_number(price)).sku",
    "contains(data.order.lines[].sku, 'b')",
    "starts_with(data.order.address.city, 'Kö')",
    "data.order.total < `5`.nothing",
    "keys(data.order.address)",
    "merge(data.order.address, {a: `1`})",
    "not_null(data.order.nothing, data.order.currency)",
    "to_string(data.order.lines)",
    "join(', ', data.order.lines[].sku)",
    "data.order.count == `false`",
    "@",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_yields_what_the_library_yields(text: str) -> None:
    assert compiled(text).evaluate(BODY) == jmespath.search(text, BODY)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_that_is_written_out_again_means_the_same(text: str) -> None:
    again = text_of(compiled(text).tree)
    assert compiled(again).evaluate(BODY) == compiled(text).evaluate(BODY)


@pytest.mark.parametrize(
    ("value", "is_true"),
    [
        (None, False),
        (False, False),
        ("", False),
        ([], False),
        ({}, False),
        (True, True),
        (0, True),
        (0.0, True),
        ("no", True),
        ([None], True),
    ],
)
def test_truth_is_that_of_the_language(value: Any, is_true: bool) -> None:
    assert expressions.is_true(value) is is_true
    assert (jmespath.search("a && `1`", {"a": value}) == 1) is is_true


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("  ", "The expression is blank."),
        ("data.order.total > 100", "At character 20 (“der.total > ▸100”): write a number in backticks: `100`."),
        ("data.order.currency = 'EUR'", "At character 21 (“er.currency ▸= 'EUR'”): write == to compare."),
        ("data.order.currency == 'EUR", "the closing quotation mark is missing."),
        ("data.order.", "At character 12 (“data.order.▸”): something is missing here."),
        ("data.order[", "The expression ends too early"),
        ("data.order)", "At character 11 (“data.order▸)”): ')' can't stand here."),
        ("a == 'x' and b", "At character 10 (“a == 'x' ▸and b”): 'and' is not an operator: write &&."),
        ("a == 'x' OR b", "'OR' is not an operator: write ||."),
        ("not a.b", "'not' is not an operator: write !."),
        ("data § order", "is not a part of the language"),
        ("a" * (LONGEST + 1), f"has {LONGEST + 1} characters. Write at most {LONGEST}."),
        ("!" * (DEEPEST + 1) + "a", f"nested more than {DEEPEST} levels deep"),
        ("(" * 1900, "nested more than"),
        ("[" * 1900, "nested more than"),
        ("a" + "|a" * 900, "nested more than"),
        ("[&data]", "& makes an argument of a function, such as map(&sku, data.order.lines)."),
        ("&data", "& makes an argument of a function"),
        ('data."\\ud800"', "half of a surrogate pair"),
        ('`"\\ud800"`', "half of a surrogate pair"),
        (
            "a == `EUR`",
            "At character 6 (“a == ▸`EUR`”): in backticks there is JSON, such as `100` or `true`. Write a text",
        ),
        ("a == '`EUR`' || b == `{`", "“R`' || b == ▸`{`”"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place_and_the_remedy(text: str, fault: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compiled(text)
    assert fault in str(refused.value)


@given(some.text(alphabet="ab.[]()*@&|!?'\"`{}:,<>= 0-", max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(ExpressionError, EvaluationError):
        compiled(text).evaluate(BODY)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("data.order.total > `100`", "> compares a text with a number. Amounts are texts: write to_number(…)"),
        ("sum(data.order.lines[].price)", "sum() takes array-number, and got str here"),
        ("starts_with(data.order.nothing, 'a')", "starts_with() takes string, and got null here"),
        ("data.order.lines[::0]", "a slice can't have the step 0"),
        ("contains(data.order.currency, data.order.count)", "a function can't use the values here (TypeError)"),
        ("merge(data.order, data.order.nothing)", "a function can't use the values here (TypeError)"),
    ],
)
def test_what_fails_on_the_data_says_why_and_shows_none_of_it(text: str, fault: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        compiled(text).evaluate(BODY)
    assert fault in str(failed.value)
    assert "120.50" not in str(failed.value)
    assert "9.50" not in str(failed.value)


DOUBLE = "[@,@]|" * 45


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (DOUBLE + "to_string(@)", BODY),
        (DOUBLE + "[0] == [1]", BODY),
        (f"({DOUBLE}@) == ({DOUBLE}@)", BODY),
        (DOUBLE + "contains(@, `1`)", BODY),
        ("[@,@]|" * 45 + "@", BODY),
        ("[@,@]|[]|" * 30 + "[]", [1]),
        ("join('',[@,@])|" * 45 + "@", "x" * 1000),
        ("join(s, l)", {"s": "x" * 100_000, "l": [""] * 5000}),
        ("[*].{a: to_string(@)}", [list(range(500))] * 500),
        ("[?contains(to_string(@), 'x')]", [list(range(500))] * 500),
    ],
)
def test_an_expression_that_would_take_for_ever_is_stopped(text: str, data: Any) -> None:
    with pytest.raises(EvaluationError, match="too many steps"):
        compiled(text).evaluate(data)


def test_an_order_of_a_thousand_lines_is_not_too_large() -> None:
    lines = [{"id": n, "sku": f"SKU-{n}", "name": "Tea", "quantity": 1, "unit_price": "9.95"} for n in range(1000)]
    found = compiled("sum(map(&to_number(unit_price), lines[?starts_with(sku, 'SKU')]))").evaluate({"lines": lines})
    assert round(found) == 9950


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data.order.currency == 'EUR'", 'data.order.currency is "USD"'),
        ("data.order.currency == 'USD' && to_number(data.order.total) > `200`", "to_number(data.order.total) is 120.5"),
        (
            "data.order.currency == 'EUR' || data.order.note == 'x'",
            'data.order.currency is "USD", data.order.note is ""',
        ),
        ("!(data.order.currency)", 'data.order.currency is "USD"'),
        ("length(data.order.lines[?sku == 'c']) > `0`", "length(data.order.lines[?sku == 'c']) is 0"),
        ("data.order.address.zip", "data.order.address.zip is null"),
        ("data.order.address.zip == data.order.note", 'data.order.address.zip is null, data.order.note is ""'),
        ("`false`", ""),
        ("data.order.currency == 'USD'", ""),
    ],
)
def test_the_values_that_decided_are_named(text: str, why: str) -> None:
    assert expressions.deciding_values(compiled(text), BODY) == why


def test_a_long_value_is_cut() -> None:
    text = expressions.deciding_values(compiled("a == 'b'"), {"a": "x" * 500})
    assert text.startswith('a is "xxx')
    assert len(text) < 100
