"""Describes operations where they are written: `@describe` at an action, `inherited_operations` in its viewset.

drf-spectacular is an extra, so the API can't use its `@extend_schema`. `auto_schema` reads these descriptions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rest_framework.serializers import BaseSerializer

__all__ = [
    "ApiResponse",
    "Body",
    "Envelope",
    "ListOf",
    "OneOf",
    "Operation",
    "Schema",
    "describe",
    "object_of",
    "page_of",
]

Schema = dict[str, Any]
Serializer = type[BaseSerializer[Any]]
Action = TypeVar("Action", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of what the serializer shows."""

    serializer: Serializer


@dataclass(frozen=True, slots=True)
class Envelope:
    """An object with `results`, a list of what the serializer shows, and with other properties.

    It becomes a component if it has a `name`.
    """

    serializer: Serializer
    properties: Mapping[str, Schema]
    name: str = ""


@dataclass(frozen=True, slots=True)
class OneOf:
    """A body of one of several forms."""

    bodies: Sequence["Body"]


# What a body contains.
Body = Serializer | ListOf | Envelope | OneOf | Schema


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response to a successful request, or 304.

    `headers` are keys of `parameters.RESPONSE_HEADERS`. `has_secret`: the body may also have a new signing secret.
    """

    description: str
    body: Body | None = None
    headers: Sequence[str] = ()
    media_type: str = "application/json"
    has_secret: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one URL, without what `auto_schema` adds: parameters of the path and of lists, usual problems.

    `problems` says what a status means for this operation, in addition to its usual meaning or instead of it.
    """

    id: str
    summary: str
    responses: Mapping[int, ApiResponse]
    description: str = ""
    request: Serializer | None = None
    example: Any = None
    parameters: Sequence[Schema] = ()
    problems: Mapping[int, str] = field(default_factory=dict)


def describe(id: str, summary: str, responses: Mapping[int, ApiResponse], **options: Any) -> Callable[[Action], Action]:
    """Describe the action that this decorates. Takes the fields of Operation."""

    def decorate(action: Action) -> Action:
        setattr(action, "operation", Operation(id, summary, responses, **options))  # noqa: B010
        return action

    return decorate


def object_of(**properties: Schema) -> Schema:
    """The schema of an object with these properties, all of them required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def page_of(serializer: Serializer) -> Envelope:
    """A page of a list."""
    url: Schema = {"type": ["string", "null"], "format": "uri"}
    properties = {"next": {**url, "description": "The next page; null if this is the last."}, "previous": url}
    return Envelope(serializer, properties, f"PageOf{serializer.__name__.removesuffix('Serializer')}")
