"""Values from the query string, for the views that filter."""

from collections.abc import Sequence

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request


def given(request: Request, name: str, *, choices: Sequence[str] = ()) -> str:
    """The value of `?name=`, or blank. Raises ValidationError for what no row can hold."""
    value: str = request.query_params.get(name, "")
    if "\x00" in value:
        raise ValidationError({name: ["Leave out the NUL character."]})
    if value and choices and value not in choices:
        raise ValidationError({name: [f"{value!r} is not one of: {', '.join(choices)}."]})
    return value
