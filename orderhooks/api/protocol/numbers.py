"""Numbers in query parameters: parsed first, bounded then, so that no spelling of a large one passes for a small one."""

import re

from rest_framework.request import Request

from orderhooks.api.protocol.problems import ParameterError

__all__ = ["whole_number"]


def whole_number(request: Request, name: str, *, default: int, lowest: int, highest: int, remedy: str = "") -> int:
    """The query parameter as a number from `lowest` to `highest`, or the default. Raises ParameterError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    # int() also takes "+5", " 5" and "५", and refuses thousands of digits in another way.
    digits = text.lstrip("0") or text[-1:]
    if re.fullmatch("[0-9]+", digits, re.ASCII) and len(digits) <= len(str(highest)):
        number = int(digits)
        if lowest <= number <= highest:
            return number
    raise ParameterError({name: [remedy or f"Give a whole number from {lowest} to {highest}."]})
