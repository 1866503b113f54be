"""Conditions: expressions that are the same for every event, which are no filter. `selection` refuses them."""

from collections.abc import Iterator

from orderhooks.expressions.compiled import Expression, ExpressionError, Tree, children
from orderhooks.expressions.texts import text_of

__all__ = ["require_condition"]

COMBINATIONS = frozenset({"or_expression", "and_expression", "not_expression"})
# The nodes that read the data. `*` of the whole body begins with `identity`.
READERS = frozenset({"field", "current", "identity"})
# What yields a number: each is true, also zero.
NUMBERS = frozenset({"abs", "avg", "ceil", "floor", "length", "sum", "to_number"})


def require_condition(expression: Expression) -> None:
    """Raises ExpressionError if a part that decides is true or false for every event, such as `a == 'x' || 'y'`."""
    for node in _operands(expression.tree):
        text = text_of(node)
        if not _reads(node):
            raise ExpressionError(
                f"{text} is the same for every event. Compare it with a field, such as data.order.status == 'open'."
            )
        if _yields_number(node):
            raise ExpressionError(f"{text} is a number, and each number is true, also 0. Compare it: {text} > `0`.")


def _operands(node: Tree) -> Iterator[Tree]:
    """The conditions that `||`, `&&` and `!` combine."""
    if node["type"] not in COMBINATIONS:
        yield node
        return
    for child in children(node):
        yield from _operands(child)


def _reads(node: Tree) -> bool:
    return node["type"] in READERS or any(_reads(child) for child in children(node))


def _yields_number(node: Tree) -> bool:
    last = node
    while last["type"] == "pipe":
        *_before, last = children(last)
    return last["type"] == "function_expression" and last["value"] in NUMBERS
