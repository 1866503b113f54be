"""A small validator for JSON Schema, with the keywords that order sources use. No dependency, no network.

It ignores other keywords: a package for draft 2020-12 is the place for them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["misfits"]

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
DEEPEST = 50


def misfits(value: Any, schema: Any) -> Iterator[str]:
    """Yield a text for each place where the value does not fit: `lines[0].sku: is int, not string`. Never the value.

    Raises ValueError if the schema is not valid.
    """
    yield from _misfits(value, schema, "", schema, 0)


def _misfits(value: Any, schema: Any, where: str, root: Any, depth: int) -> Iterator[str]:
    if schema is True or depth > DEEPEST:
        return
    if schema is False:
        yield _at(where, "is not allowed")
        return
    if not isinstance(schema, Mapping):
        raise ValueError(f"{where or 'the schema'} is {schema!r}, not a JSON Schema (an object)")
    if "$ref" in schema:
        yield from _misfits(value, _referred(schema["$ref"], root), where, root, depth + 1)
    types = schema.get("type")
    if types is not None:
        names = [types] if isinstance(types, str) else list(types)
        if unknown := [name for name in names if name not in TYPES]:
            raise ValueError(f"{where or 'the schema'} has the type {unknown[0]!r}; use one of: {', '.join(TYPES)}")
        if not any(TYPES[name](value) for name in names):
            yield _at(where, f"is {type(value).__name__}, not {' or '.join(names)}")
            return
    if "enum" in schema and value not in schema["enum"]:
        yield _at(where, f"is not one of {schema['enum']!r:.200}")
    if "const" in schema and value != schema["const"]:
        yield _at(where, f"is not {schema['const']!r:.60}")
    if isinstance(value, str):
        yield from _text(value, schema, where)
    elif TYPES["number"](value):
        yield from _number(value, schema, where)
    elif TYPES["object"](value):
        yield from _object(value, schema, where, root, depth)
    elif TYPES["array"](value):
        for number, item in enumerate(value):
            yield from _misfits(item, schema.get("items", True), f"{where}[{number}]", root, depth + 1)
    yield from _combined(value, schema, where, root, depth)


def _text(value: str, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield _at(where, f"does not match {schema['pattern']!r}")
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield _at(where, f"has {len(value)} characters")


def _number(value: float, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield _at(where, "is out of its range")


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str, root: Any, depth: int) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield _at(where, f"lacks {name!r}")
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        place = f"{where}.{name}" if where else str(name)
        yield from _misfits(item, properties.get(name, others), place, root, depth + 1)


def _combined(value: Any, schema: Mapping[str, Any], where: str, root: Any, depth: int) -> Iterator[str]:
    for one in schema.get("allOf", ()):
        yield from _misfits(value, one, where, root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        choices = schema.get(keyword)
        if choices and all(any(_misfits(value, one, where, root, depth + 1)) for one in choices):
            yield _at(where, f"fits none of {keyword}")


def _referred(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#/").split("/") if reference != "#" else ():
        if not isinstance(found, Mapping) or part not in found:
            raise ValueError(f"$ref {reference!r} does not exist")
        found = found[part]
    return found


def _at(where: str, text: str) -> str:
    return f"{where}: {text}" if where else f"it {text}"
