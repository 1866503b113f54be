"""Ranges of PostgreSQL as JSON: `{"lower": …, "upper": …, "bounds": "[)"}`, or `{"empty": true}`.

Two are equal if the database would store the same: it writes a range of whole numbers or days as `[)`.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

__all__ = ["as_json", "from_json", "from_text", "is_range"]

EMPTY = {"empty": True}
# An end is in double quotes where it has to be, as the ends of a range of times.
TEXT = re.compile(r'([\[(])("[^"]*"|[^",]*),("[^"]*"|[^",]*)([\])])')


def is_range(field: Any) -> bool:
    """Whether the field holds ranges. By name: importing it needs psycopg."""
    return any(one.__name__ == "RangeField" for one in type(field).__mro__)


def as_json(field: Any, value: Any, of_end: Callable[[Any], Any]) -> Any:
    """The field's value as an object for JSON. `of_end` makes what the database would store of an end."""
    value = from_json(field, value)
    if value is None:
        return None
    if value.isempty:
        return EMPTY
    lower, upper = (None if end is None else of_end(end) for end in (value.lower, value.upper))
    begins, ends = value.lower_inc, value.upper_inc
    if lower is not None and not begins and (next_one := _next(lower)) is not None:
        lower, begins = next_one, True
    if upper is not None and ends and (next_one := _next(upper)) is not None:
        upper, ends = next_one, False
    if lower is not None and upper is not None and lower >= upper and not (lower == upper and begins and ends):
        return EMPTY
    return {"lower": lower, "upper": upper, "bounds": ("[" if begins else "(") + ("]" if ends else ")")}


def from_json(field: Any, value: Any) -> Any:
    """The range of such an object; any other value as the field understands it."""
    return field.to_python(json.dumps(value) if isinstance(value, Mapping) else value)


def from_text(text: str) -> dict[str, Any]:
    """The range that PostgreSQL writes as this text, such as `[1,5)`, as an object whose ends are text."""
    if text == "empty":
        return EMPTY
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a range of numbers or times.")
    begin, lower, upper, end = found.groups()
    return {"lower": lower.strip('"') or None, "upper": upper.strip('"') or None, "bounds": begin + end}


def _next(end: Any) -> Any:
    """The next whole number or day. None for what has no next one."""
    if isinstance(end, int):
        return end + 1
    is_day = isinstance(end, date) and not isinstance(end, datetime)
    return end + timedelta(days=1) if is_day and end < date.max else None
