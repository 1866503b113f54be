"""The schema checker of our own: it says where a value does not fit, and agrees with jsonschema."""

from typing import Any

import pytest

from orderhooks import json_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "pattern": "^x", "maxLength": 3},
        "b": {"type": "integer", "minimum": 1},
        "c": {"type": "array", "items": {"$ref": "#/$defs/d"}},
        "e": {"enum": ["y"]},
        "f": {"anyOf": [{"type": "integer"}, {"const": "z"}]},
    },
    "required": ["b"],
    "additionalProperties": False,
    "$defs": {"d": {"type": "boolean"}},
}
FITS = [
    ({"b": 1}, []),
    ({"a": None, "b": 2, "c": [True], "e": "y", "f": "z"}, []),
    ({}, ["it lacks 'b'"]),
    ([], ["it is list, not object"]),
    ({"b": True}, ["b: is bool, not integer"]),
    ({"b": 0}, ["b: is out of its range"]),
    ({"b": 1, "a": "y"}, ["a: does not match '^x'"]),
    ({"b": 1, "a": "xxxx"}, ["a: has 4 characters"]),
    ({"b": 1, "c": [True, 1]}, ["c[1]: is int, not boolean"]),
    ({"b": 1, "e": "n"}, ["e: is not one of ['y']"]),
    ({"b": 1, "f": "n"}, ["f: fits none of anyOf"]),
    ({"b": 1, "g": 1}, ["g: is not allowed"]),
]


@pytest.mark.parametrize(("value", "expected"), FITS, ids=str)
def test_a_value_fits_its_schema_or_says_where_it_does_not(value: Any, expected: list[str]) -> None:
    assert list(json_schema.misfits(value, SCHEMA)) == expected
    jsonschema = pytest.importorskip("jsonschema")
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(value) == (not expected), "as the real thing says"
