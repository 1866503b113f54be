"""Refuses unknown members in request bodies: otherwise a mistyped name would be ignored with a 200."""

import itertools
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers

from orderhooks import spelling

__all__ = ["KnownMembers", "PlainSerializer", "RowSerializer", "require_no_members"]

# How many characters of an unknown name are compared with the known ones.
MAX_NAME_LENGTH = 60
# How many unknown members the errors list.
MAX_UNKNOWN = 20


class KnownMembers(serializers.Serializer[Any]):
    """Refuses members without a field. Read-only members may be sent back as they were read, and are ignored."""

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            require_known_members(data, self.fields)
        return super().to_internal_value(data)


class PlainSerializer(KnownMembers):
    """A request body that is not a row of a model."""


class RowSerializer(KnownMembers, serializers.ModelSerializer[Any]):
    """A request or response body that is a row of a model."""


def require_known_members(data: Mapping[str, Any], fields: Mapping[str, serializers.Field[Any, Any, Any, Any]]) -> None:
    """Raises ValidationError with an error at each member of `data` that has no field, at most 20 of them."""
    writable = [name for name, field in fields.items() if not field.read_only]
    unknown = itertools.islice((name for name in data if name not in fields), MAX_UNKNOWN)
    errors = {name: [_remedy(name, writable)] for name in unknown}
    if errors:
        raise serializers.ValidationError(errors, code="unknown_member")


@sensitive_variables()
def require_no_members(data: Any) -> None:
    """Raises ValidationError unless the body is empty or {}."""
    if isinstance(data, Mapping):
        require_known_members(data, {})
    elif data:
        raise serializers.ValidationError(["The body must be empty. Send {} or nothing."], code="invalid")


def _remedy(name: str, known: list[str]) -> str:
    compared = name[:MAX_NAME_LENGTH]
    if near := spelling.nearest(compared, known):
        return f"Unknown member. Did you mean {near}?"
    return f"Unknown member. Known members: {', '.join(known) or 'none'}."
