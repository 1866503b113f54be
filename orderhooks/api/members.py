"""Bodies with members that no serializer knows are refused: a mistyped name would otherwise be ignored with a 200."""

import itertools
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers

from orderhooks import spelling

__all__ = ["KnownMembers", "PlainSerializer", "RowSerializer", "require_no_members"]

# What an error quotes of a name.
LONGEST_QUOTED = 60
# Of unknown members.
MOST_NAMED = 20


class KnownMembers(serializers.Serializer[Any]):
    """Refuses members that it has no field for. What can only be read may be sent back as it came, and is ignored."""

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            require_known_members(data, self.fields)
        return super().to_internal_value(data)


class PlainSerializer(KnownMembers):
    """A body that is no row."""


class RowSerializer(KnownMembers, serializers.ModelSerializer[Any]):
    """A row of a model."""


def require_known_members(data: Mapping[str, Any], fields: Mapping[str, serializers.Field[Any, Any, Any, Any]]) -> None:
    """Raises ValidationError for each member without a field."""
    writable = [name for name, field in fields.items() if not field.read_only]
    # A body may have any number of them.
    unknown = itertools.islice((name for name in data if name not in fields), MOST_NAMED)
    errors = {name: [_remedy(name, writable)] for name in unknown}
    if errors:
        raise serializers.ValidationError(errors, code="unknown_member")


@sensitive_variables()
def require_no_members(data: Any) -> None:
    """For actions that take no body: {} and nothing at all are fine."""
    if isinstance(data, Mapping):
        require_known_members(data, {})
    elif data:
        raise serializers.ValidationError(["This takes no body. Send {} or nothing."], code="invalid")


def _remedy(name: str, known: list[str]) -> str:
    quoted = name[:LONGEST_QUOTED]
    if near := spelling.nearest(quoted, known):
        return f"There is no such member. Did you mean {near}?"
    return "There is no such member. " + (f"There are: {', '.join(known)}." if known else "There are none.")
