"""Erasing: a person's data goes from everything that orderhooks has stored of some orders.

`planning` finds the orders, `steps` erases them, a small transaction at a time. `operations` and the pump call it.
"""

from orderhooks.erasing.planning import ErasureError, Estimate, estimate, paths, plan
from orderhooks.erasing.steps import Step, advance

__all__ = ["ErasureError", "Estimate", "Step", "advance", "estimate", "paths", "plan"]
