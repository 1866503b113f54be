"""Expressions: JMESPath as subscriptions use it, to choose events and to reshape their data. Bounded, because users
write it.

The language: https://jmespath.org/specification.html
"""

from orderhooks.expressions.checking import check
from orderhooks.expressions.compiled import (
    LONGEST,
    EvaluationError,
    Expression,
    ExpressionError,
    compiled,
    is_true,
    shown,
)
from orderhooks.expressions.conditions import require_condition
from orderhooks.expressions.deciding import deciding_values
from orderhooks.expressions.interpreting import BUDGET

__all__ = [
    "BUDGET",
    "LONGEST",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "check",
    "compiled",
    "deciding_values",
    "is_true",
    "require_condition",
    "shown",
]
