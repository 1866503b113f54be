"""The words in which the tables of operations are written: what an operation takes, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rest_framework.serializers import BaseSerializer

__all__ = ["NO_NUL", "Answer", "Key", "Operation", "Page", "Source", "object_of"]

Schema = dict[str, Any]
# No database keeps a NUL in its text.
NO_NUL = "^[^\\u0000]*$"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of what this serializer shows."""

    of: type[BaseSerializer[Any]]


# What a body's schema is drawn from: a serializer, a page of one, or the schema itself.
Source = type[BaseSerializer[Any]] | Page | Schema
# An operation's place: the name of its viewset and the action.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back if all goes well. `headers` are names of `parameters.ANSWERED`; `secret`: with a new one."""

    text: str
    body: Source | None = None
    headers: Sequence[str] = ()
    media_type: str = "application/json"
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. Its usual problems and parameters are not told here: `inspecting` knows them.

    `problems` are its own: what a status means here, beside or in place of what it means elsewhere. `without` are
    fields that its body has not.
    """

    id: str
    summary: str
    answers: Mapping[int, Answer]
    text: str = ""
    body: type[BaseSerializer[Any]] | None = None
    without: Sequence[str] = ()
    example: Any = None
    parameters: Sequence[Schema] = ()
    problems: Mapping[int, str] = field(default_factory=dict)


def object_of(**properties: Schema) -> Schema:
    """The schema of an object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}
