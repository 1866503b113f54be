"""Values of a body with their types, for `events` and `alarms`.

Types are strict, because a sum of floats, or a time without a zone, would be noticed much later. Errors name no values,
because those may be a customer's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, TypeVar, cast

from orderhooks.formats import FormText

__all__ = [
    "Fields",
    "a_bool",
    "a_dict",
    "a_str",
    "a_time",
    "a_time_or_none",
    "an_int",
    "money",
    "read_fields",
    "read_rows",
    "typed",
]

T = TypeVar("T")

# What a text in a form stands for, by the type that is expected. See `orderhooks.formats.form`.
OF_FORMS: Mapping[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    bool: {"true": True, "false": False}.__getitem__,
    dict: {"": {}}.__getitem__,
    list: {"": []}.__getitem__,
}


def typed(kind: type[T], value: Any) -> T:
    if type(value) is FormText and kind in OF_FORMS:
        try:
            return cast(T, OF_FORMS[kind](value))
        except (LookupError, ValueError):
            raise TypeError(f"expected {kind.__name__}, got another text") from None
    # Not isinstance, because True is an int too.
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def money(value: Any) -> Decimal:
    try:
        amount = Decimal(typed(str, value))
    except InvalidOperation:
        raise ValueError("not a valid decimal number") from None
    if not amount.is_finite():
        raise ValueError("not a valid decimal number")
    return amount


def a_time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(typed(str, value))
    except ValueError:
        raise ValueError("not a valid date and time") from None
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return time


def a_time_or_none(value: Any) -> datetime | None:
    is_blank = value is None or (type(value) is FormText and not value)
    return None if is_blank else a_time(value)


Fields = Mapping[str, Callable[[Any], object]]
a_str, an_int, a_bool, a_dict = (partial(typed, kind) for kind in (str, int, bool, dict))


def read_rows(kind: Callable[..., T], value: Any, fields: Fields) -> tuple[T, ...]:
    return tuple(kind(**read_fields(row, fields)) for row in typed(list, value))


def read_fields(data: Any, fields: Fields) -> dict[str, Any]:
    given, values = typed(dict, data), {}
    for name, read in fields.items():
        if name not in given:
            raise ValueError(f"{name} is missing")
        try:
            values[name] = read(given[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    return values
