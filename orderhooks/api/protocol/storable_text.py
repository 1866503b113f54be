"""Refuses NUL characters and lone surrogates anywhere in a request: databases and receivers do not accept them."""

import re
from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request

from orderhooks.api.protocol.problems import ParameterError

__all__ = ["require_storable", "require_storable_url"]

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REMEDY = "Remove NUL characters and lone surrogates: databases can't store them, and receivers can't read them."


def require_storable(data: Any) -> None:
    """Raises ValidationError at the place in a parsed JSON body where a value or a name has such characters."""
    # Without recursion, which deep nesting would break.
    left: list[tuple[Any, tuple[str, ...]]] = [(data, ())]
    while left:
        value, path = left.pop()
        if isinstance(value, str):
            if UNSTORABLE.search(value):
                raise _error_at(path, REMEDY)
        elif isinstance(value, dict):
            if any(UNSTORABLE.search(name) for name in value):
                raise _error_at(path, f"The name of a member is not valid. {REMEDY}")
            left += [(inner, (*path, name)) for name, inner in value.items() if isinstance(inner, str | dict | list)]
        elif isinstance(value, list):
            left += [
                (inner, (*path, str(place)))
                for place, inner in enumerate(value)
                if isinstance(inner, str | dict | list)
            ]


def require_storable_url(request: Request, path: dict[str, str]) -> None:
    """Raises ParameterError or ParseError if the URL's query or the captured parts of its path have such characters."""
    for name, values in request.query_params.lists():
        if UNSTORABLE.search(name):
            raise ParameterError({"": [f"The name of a parameter is not valid. {REMEDY}"]})
        if any(UNSTORABLE.search(value) for value in values):
            raise ParameterError({name: [REMEDY]})
    if any(UNSTORABLE.search(part) for part in path.values()):
        raise ParseError(REMEDY)


def _error_at(path: tuple[str, ...], text: str) -> ValidationError:
    detail: Any = [text]
    for step in reversed(path):
        detail = {step: detail}
    return ValidationError(detail, code="invalid")
