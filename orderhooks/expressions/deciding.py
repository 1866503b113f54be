"""Deciding: the values for which a filter did not let an event through, for people who ask why."""

import json
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
    found = dict.fromkeys(_parts(expression.tree, body))
    return ", ".join(list(found)[:MOST])


def _parts(node: Tree, body: Any) -> list[str]:
    children = node["children"]
    match node["type"]:
        case "and_expression":
            # The first one that is false decides.
            return _parts(children[0] if not is_true(evaluate(children[0], body)) else children[1], body)
        case "or_expression":
            return [part for child in children for part in _parts(child, body)]
        case "not_expression":
            return [_value(children[0], body)]
        case "comparator":
            return [_value(child, body) for child in children if child["type"] != "literal"]
        case "literal":
            return []
        case _:
            return [_value(node, body)]


def _value(node: Tree, body: Any) -> str:
    text = json.dumps(evaluate(node, body), ensure_ascii=False)
    cut = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return f"{text_of(node)} is {cut}"
