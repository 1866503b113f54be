"""Texts that no database and no receiver takes: NUL characters and lone surrogates, wherever a request holds them."""

import re
from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request

from orderhooks.api.protocol.problems import ParameterError

__all__ = ["require_storable", "require_storable_address"]

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REMEDY = "Leave out NUL characters and lone surrogates: no database keeps them, and no receiver could read them."


def require_storable(data: Any) -> None:
    """Raises ValidationError that tells where a parsed JSON body holds such a text, in a value or in a name."""
    # Step by step, since recursion is what deep nesting breaks.
    left: list[tuple[Any, tuple[str, ...]]] = [(data, ())]
    while left:
        value, path = left.pop()
        if isinstance(value, str):
            if UNSTORABLE.search(value):
                raise _refusal(path, REMEDY)
        elif isinstance(value, dict):
            if any(UNSTORABLE.search(name) for name in value):
                raise _refusal(path, f"The name of a member can't be stored. {REMEDY}")
            left += [(inner, (*path, name)) for name, inner in value.items() if isinstance(inner, str | dict | list)]
        elif isinstance(value, list):
            left += [
                (inner, (*path, str(place)))
                for place, inner in enumerate(value)
                if isinstance(inner, str | dict | list)
            ]


def require_storable_address(request: Request, path: dict[str, str]) -> None:
    """The same for what the address holds: its query parameters, and the parts of its path."""
    for name, values in request.query_params.lists():
        if UNSTORABLE.search(name):
            raise ParameterError({"": [f"The name of a parameter can't be read. {REMEDY}"]})
        if any(UNSTORABLE.search(value) for value in values):
            raise ParameterError({name: [REMEDY]})
    if any(UNSTORABLE.search(part) for part in path.values()):
        raise ParseError(REMEDY)


def _refusal(path: tuple[str, ...], text: str) -> ValidationError:
    detail: Any = [text]
    for step in reversed(path):
        detail = {step: detail}
    return ValidationError(detail, code="invalid")
