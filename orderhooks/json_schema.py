"""A small validator for JSON Schema, with the keywords that order sources use. No dependency, no network.

It ignores other keywords: a package for draft 2020-12 is the place for them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["alternatives", "fits", "misfits", "of_example", "without_open_parts"]

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


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether the value fits the schema, which is a part of `root`."""
    return not any(_misfits(value, schema, "", root, 0))


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


def of_example(value: Any, guide: Any, guide_value: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an example that was made from `guide_value`, whose schema is `guide`, a part of `root`.

    It closes only those objects that the guide closes, and allows anything where the guide does, or where the example
    has null. Any other value may be null too, because one example can't tell.
    """
    choices = list(alternatives(guide, root))
    if value is None or {} in choices:
        return {}
    if isinstance(value, Mapping):
        return _of_object(value, choices, guide_value, root)
    kind = next(name for name, fits in TYPES.items() if fits(value))
    kinds = {one for choice in choices for one in _types_of(choice)}
    if kind != "array":
        return {"type": [*(kinds if kind in kinds else {kind}), "null"]}
    guides = {"anyOf": [choice["items"] for choice in choices if isinstance(choice.get("items"), Mapping)] or [{}]}
    former = guide_value if isinstance(guide_value, list) and len(guide_value) == len(value) else [None] * len(value)
    items = [of_example(one, guides, old, root) for one, old in zip(value, former, strict=True)]
    return {"type": ["array", "null"], "items": {"anyOf": items} if items else {}}


def _of_object(value: Mapping[str, Any], choices: Any, guide_value: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    objects = [choice for choice in choices if choice.get("properties")]
    if not objects or any(choice.get("additionalProperties", False) is not False for choice in objects):
        return {"type": ["object", "null"]}
    known: dict[str, list[Any]] = {}
    for choice in objects:
        for name, one in choice["properties"].items():
            known.setdefault(name, []).append(one)
    former = guide_value if isinstance(guide_value, Mapping) else {}
    # What the example leaves out though the schema has it may be there in another body.
    properties: dict[str, Any] = {name: {} for name in known if name not in former and name not in value}
    for name, one in value.items():
        guide = {"anyOf": known[name]} if name in known else {"enum": []}
        properties[name] = of_example(one, guide, former.get(name), root)
    return {"type": ["object", "null"], "properties": properties}


def without_open_parts(schema: Any) -> Any:
    """The schema with null alone in place of each part in which anything goes."""
    if not isinstance(schema, Mapping):
        return schema
    is_open = schema.get("additionalProperties", False) is not False or not schema.get("properties")
    if list(_types_of(schema)) in (["object"], ["object", "null"]) and is_open:
        return {"type": "null"}
    if not {"type", "enum", "const", "properties", "anyOf", "oneOf", "allOf", "$ref"} & schema.keys():
        return {"type": "null"}
    found = dict(schema)
    for keyword in ("properties", "$defs"):
        if keyword in schema:
            found[keyword] = {name: without_open_parts(one) for name, one in schema[keyword].items()}
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            found[keyword] = [without_open_parts(one) for one in schema[keyword]]
    return {**found, "items": without_open_parts(schema["items"])} if "items" in schema else found


def alternatives(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """A part of the schema `root` without references and combinations. An empty one where anything goes."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        yield {}
        return
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if "$ref" in schema:
        inner.append(_referred(schema["$ref"], root))
    for one in inner:
        yield from alternatives(one, root, depth + 1)
    if {"type", "enum", "const", "properties"} & schema.keys():
        yield schema
    elif not inner:
        yield {}


def _types_of(schema: Mapping[str, Any]) -> Iterator[str]:
    types = schema.get("type", "object" if "properties" in schema else [])
    yield from [types] if isinstance(types, str) else types
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    if not types:
        yield from (next(name for name, fits in TYPES.items() if fits(value)) for value in values)
