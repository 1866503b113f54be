"""Source skeletons: the text of a module with an order source for a model. `orderhooks_source` prints it.

What it says is guessed by `source_guesses`. It runs as it is.
"""

from collections.abc import Iterator, Sequence

from django.apps import apps
from django.db import models

from orderhooks import sources
from orderhooks.management.source_guesses import Guess, GuessedRows, guess

__all__ = ["skeleton"]

MOST_CHARACTERS = 88


def skeleton(model: type[models.Model]) -> str:
    """The text of the module. Reads no database."""
    found = guess(model)
    return "\n".join([*_head(model, found), "", "", *_class(model, found), ""])


def _head(model: type[models.Model], found: Guess) -> Iterator[str]:
    module = f"{apps.get_app_config(model._meta.app_label).name}.order_sources"
    used = {"FieldPayload": True, "Lines": found.lines, "OrderSource": True, "Related": found.related}
    yield f'"""Describes the orders in {model._meta.label}.'
    yield ""
    yield f"Save it as {module}, and name it in the settings:"
    yield f'ORDERHOOKS = {{"SOURCES": ["{module}.{_class_name(model)}"]}}'
    yield '"""'
    yield ""
    yield f"from orderhooks.sources import {', '.join(name for name, is_used in used.items() if is_used)}"


def _class(model: type[models.Model], found: Guess) -> Iterator[str]:
    yield f"class {_class_name(model)}(OrderSource):"
    yield f'    name = "{_name(model)}"  # marks its events; must never change'
    yield f'    model = "{model._meta.label}"'
    yield "    # The fields whose changes are events."
    yield from _call("    watched = ", [_quoted(name) for name in found.watched], is_tuple=True)
    yield from _transitions(found)
    if found.lines:
        yield "    # Their changes are changes of the order."
        yield from _call("    lines = Lines", _arguments(found.lines))
    if found.related:
        yield "    # Other rows whose changes are changes of the order."
        yield "    related = ("
        for rows in found.related:
            yield from _call("        Related", [_quoted(rows.key), *_arguments(rows)], end=",")
        yield "    )"
    if found.left_out:
        yield f"    # Not watched: {', '.join(found.left_out)}."
    yield "    # What receivers get, beside the `id` of the order and of each row."
    yield from _payload_fields(found)
    yield from _methods(found.number)


def _class_name(model: type[models.Model]) -> str:
    """The name of the class. That of a model `Order` must not hide the `OrderSource` that it imports."""
    name = f"{model.__name__}Source"
    label = model._meta.app_label.title().replace("_", "")
    return f"{label}Orders" if name == sources.OrderSource.__name__ else name


def _name(model: type[models.Model]) -> str:
    name = model._meta.model_name or ""
    return f"{model._meta.app_label}_{name}" if name in sources.configured() else name


def _transitions(found: Guess) -> Iterator[str]:
    if not found.transitions:
        return
    yield "    # The topics of new values, beside order.updated: fill them in, or remove them."
    yield "    # transitions = {"
    for field, by_value in found.transitions.items():
        yield f"    #     {_quoted(field)}: {{"
        for value, topic in by_value.items():
            pair = f"{_literal(value)}: {_quoted(topic)}," if topic else f"# {_literal(value)}:"
            yield f"    #         {pair}"
        if not by_value:
            yield '    #         # "paid": "order.paid",'
        yield "    #     },"
    yield "    # }"


def _payload_fields(found: Guess) -> Iterator[str]:
    rows = [*([found.lines] if found.lines else []), *found.related]
    parts = [_quoted(name) for name in (*found.watched, *found.shown)]
    for one in rows:
        key = "lines" if one is found.lines else one.key
        parts.append(f"{key}={_tuple(one.watched)}")
    yield from _call("    payload_fields = FieldPayload", parts)


def _methods(number: str) -> Iterator[str]:
    if not number:
        return
    yield ""
    yield "    def number(self, order):"
    yield f"        return order.{number}"
    yield ""
    yield "    def find(self, number, *, store, using):"
    yield f"        return self.newest(using=using).filter({number}=number).first()"


def _arguments(rows: GuessedRows) -> list[str]:
    return [_quoted(rows.model._meta.label), _quoted(rows.path), _tuple(rows.watched)]


def _call(before: str, parts: Sequence[str], *, end: str = "", is_tuple: bool = False) -> Iterator[str]:
    """The parts in parentheses, on one line if there is room, and otherwise on a line each."""
    comma = "," if is_tuple and len(parts) == 1 else ""
    line = f"{before}({', '.join(parts)}{comma}){end}"
    if len(line) <= MOST_CHARACTERS:
        yield line
        return
    indent = " " * (len(before) - len(before.lstrip()))
    yield f"{before}("
    for part in parts:
        yield f"{indent}    {part},"
    yield f"{indent}){end}"


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(map(_quoted, names))}{',' if len(names) == 1 else ''})"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _literal(value: object) -> str:
    return _quoted(value) if isinstance(value, str) and '"' not in value and "\\" not in value else repr(value)
