"""Interpreting: evaluates a tree of `jmespath`, and stops one that would take too long or too much memory.

What it costs is counted, not timed, so that an expression fails on the same data everywhere and always.
"""

from collections.abc import Mapping
from typing import Any

from jmespath import exceptions, functions, visitor

__all__ = ["EvaluationError", "evaluate", "is_true"]

# One unit is about a microsecond: a visit of a node, a value that a function looks at, CHARACTERS of a text.
BUDGET = 30_000
CHARACTERS = 64
# Functions that look at what their arguments hold, however deep. The others look at their items.
DEEP = frozenset({"contains", "to_string"})
EVERYTHING = 1000
ORDERINGS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class EvaluationError(ValueError):
    """The expression can't be evaluated on this data. The message says why, and never holds a value of the data."""


def evaluate(tree: Mapping[str, Any], data: Any, *, budget: int = BUDGET) -> Any:
    """What the tree makes of the data, for at most `budget` units. Raises EvaluationError."""
    interpreter = _Interpreter(budget)
    try:
        found = interpreter.visit(tree, data)
        # It may hold one part very often, which would be written out each time.
        interpreter.pay_for(found)
    except exceptions.JMESPathTypeError as error:
        expected = " or ".join(error.expected_types)
        raise EvaluationError(f"{error.function_name}() takes {expected}, and got {error.actual_type} here") from None
    except exceptions.JMESPathError as error:
        raise EvaluationError(str(error)) from None
    except EvaluationError:
        raise
    except (OverflowError, ValueError) as error:
        raise EvaluationError(f"a number is too large, or not a number ({error})") from None
    except Exception as error:
        # Functions of the library check their arguments, but not what these hold.
        raise EvaluationError(f"a function can't use the values here ({type(error).__name__})") from None
    return found


def is_true(value: Any) -> bool:
    """JMESPath's truth: null, false, and an empty text, list or object are false; 0 is true."""
    return not (value is None or value is False or value in ("", [], {}))


class _Interpreter(visitor.TreeInterpreter):
    def __init__(self, budget: int) -> None:
        super().__init__()
        self.functions = functions.Functions()
        self.left = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self.pay(1)
        return getattr(self, f"visit_{node['type']}")(node, *args, **kwargs)

    def pay(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise EvaluationError(
                "it takes too many steps on this data. Make the expression simpler, or the order smaller"
            )

    def pay_for(self, value: Any, levels: int = EVERYTHING) -> None:
        """As many units as the value has parts, down to that level. A part that it holds twice counts twice."""
        level = [value]
        while level and levels:
            levels -= 1
            self.pay(len(level))
            inside: list[Any] = []
            for one in level:
                if isinstance(one, str):
                    self.pay(len(one) // CHARACTERS)
                elif isinstance(one, list):
                    self.pay(len(one))
                    inside += one
                elif isinstance(one, dict):
                    self.pay(len(one))
                    inside += one.values()
            level = inside

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        for argument in arguments:
            self.pay_for(argument, EVERYTHING if node["value"] in DEEP else 2)
        if node["value"] == "join" and isinstance(arguments[0], str) and isinstance(arguments[-1], list):
            self.pay(len(arguments[0]) * len(arguments[-1]) // CHARACTERS)
        return self.functions.call_function(node["value"], arguments)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (self.visit(child, value) for child in node["children"])
        if isinstance(left, list | dict) and isinstance(right, list | dict):
            self.pay_for(left)
            self.pay_for(right)
        if node["value"] not in ORDERINGS:
            return self.COMPARATOR_FUNC[node["value"]](left, right)
        kinds = {_kind(left), _kind(right)}
        if kinds == {"string", "number"}:
            raise EvaluationError(
                f"{ORDERINGS[node['value']]} compares a text with a number. Amounts are texts: write to_number(…)"
            )
        return self.COMPARATOR_FUNC[node["value"]](left, right) if kinds in ({"string"}, {"number"}) else None

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        parts = [one if isinstance(one, list) else [one] for one in base]
        self.pay(sum(map(len, parts)))
        return [one for part in parts for one in part]

    def visit_slice(self, node: Any, value: Any) -> Any:
        if isinstance(value, list):
            self.pay(len(value))
        if node["children"][2] == 0:
            raise EvaluationError("a slice can't have the step 0")
        return super().visit_slice(node, value)


def _kind(value: Any) -> str:
    return functions.TYPES_MAP.get(type(value).__name__, "")
