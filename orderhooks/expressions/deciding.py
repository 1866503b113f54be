"""Deciding: the values for which a filter did not let an event through, for people who ask why."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from orderhooks.expressions.compiled import Expression, Tree
from orderhooks.expressions.interpreting import evaluate, is_true
from orderhooks.expressions.texts import text_of

__all__ = ["deciding_values"]

MOST = 3
LONGEST_VALUE = 80


def deciding_values(expression: Expression, body: Any) -> str:
    """The parts of an expression that made it false, with their values: `data.order.currency is "USD"`.

    Blank if the expression is true of the body. At most MOST parts. Raises EvaluationError.
    """
    if is_true(expression.evaluate(body)):
        return ""
    found = dict.fromkeys(islice(_parts(expression.tree, body), MOST))
    return ", ".join(found)


def _parts(node: Tree, body: Any) -> Iterator[str]:
    children = node["children"]
    match node["type"]:
        case "and_expression":
            # The first one that is false decides.
            yield from _parts(next(one for one in _operands(node) if not is_true(evaluate(one, body))), body)
        case "or_expression":
            for operand in _operands(node):
                yield from _parts(operand, body)
        case "not_expression":
            yield _value(children[0], body)
        case "comparator":
            yield from (_value(child, body) for child in children if child["type"] != "literal")
        case "literal":
            return
        case _:
            yield _value(node, body)


def _operands(node: Tree) -> list[Tree]:
    """Of `a && b && c`, which is `(a && b) && c`, all three; each is evaluated once."""
    found: list[Tree] = []
    one = node
    while one["type"] == node["type"]:
        left, right = one["children"]
        found.append(right)
        one = left
    return [one, *reversed(found)]


def _value(node: Tree, body: Any) -> str:
    text = json.dumps(evaluate(node, body), ensure_ascii=False)
    cut = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return f"{text_of(node)} is {cut}"
