"""Integers, and versions of the body, in query parameters."""

import re

from rest_framework.request import Request

from orderhooks import versions
from orderhooks.api.protocol.problems import ParameterError

__all__ = ["LARGEST_SEQUENCE", "int_parameter", "sequence_parameter", "version_of"]

LARGEST_SEQUENCE = 2**63 - 1


def int_parameter(request: Request, name: str, *, default: int, lowest: int, highest: int, remedy: str = "") -> int:
    """The query parameter as an integer; `default` if it is missing.

    Raises ParameterError with the text `remedy` if it is not an integer from `lowest` to `highest`.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    # int() would also accept "+5", " 5" and "५", and would raise another error for thousands of digits.
    digits = text.lstrip("0") or text[-1:]
    if re.fullmatch("[0-9]+", digits, re.ASCII) and len(digits) <= len(str(highest)):
        number = int(digits)
        if lowest <= number <= highest:
            return number
    raise ParameterError({name: [remedy or f"Send an integer from {lowest} to {highest}."]})


def sequence_parameter(request: Request, remedy: str) -> int:
    """The query parameter `after`: a sequence, 0 if it is missing. Raises ParameterError with the text `remedy`."""
    return int_parameter(request, "after", default=0, lowest=0, highest=LARGEST_SEQUENCE, remedy=remedy)


def version_of(request: Request, name: str) -> str:
    """The query parameter as a registered version of the body; blank if it is missing. Raises ParameterError."""
    if name not in request.query_params:
        return ""
    try:
        return versions.require(request.query_params[name]).name
    except versions.VersionError as error:
        raise ParameterError({name: [str(error)]}, code="api_version") from None
