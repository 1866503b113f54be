"""Static trials: what can be found out about a source without reading the database."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db import connections, models, router

from orderhooks import catalogue, conf, json_schema, spelling, topics, triggers, versions
from orderhooks.source_trials import attributes
from orderhooks.source_trials.running import Fault, Faults, Trial, misfit, most_characters
from orderhooks.source_trials.shared import same_row
from orderhooks.sources import (
    ROW_TOPICS,
    FieldPayload,
    OrderSource,
    Related,
    conditions,
    path_fault,
    plain,
    rows_of,
    stored_values,
)
from orderhooks.triggers import KEY_TYPES

__all__ = ["STATIC"]

MOST_COLUMNS = 30
NAME = re.compile(r"[A-Za-z0-9._-]+")
# The values of a field in `transitions` are looked up in a dict, so they must be hashable.
UNHASHABLE = ("JSONField", "ArrayField", "HStoreField")


def _name(path: str, source: OrderSource) -> Faults:
    name, most = getattr(source, "name", None), most_characters("source")
    if not isinstance(name, str) or not name:
        yield Fault(
            path,
            "E040",
            "It has no `name`.",
            'Set one that never changes, such as name = "shop".',
        )
    elif len(name) > most:
        yield Fault(path, "E040", f"Its `name` has {len(name)} characters.", f"Give it at most {most}.")
    elif not NAME.fullmatch(name):
        remedy = "It is in URLs and headers: use letters, digits, dots, hyphens and underscores."
        yield Fault(path, "E040", f"Its `name` is {name!r}.", remedy)


def _capture(path: str, source: OrderSource) -> Faults:
    if source.capture not in ("signals", "triggers"):
        yield Fault(path, "E049", f"Its `capture` is {source.capture!r}.", "Set 'signals' or 'triggers'.")
    elif source.capture == "triggers":
        for owner in (source, *source.all_related):
            model: Any = owner.get_model()  # type: ignore[attr-defined]
            if model._meta.db_table.startswith('"'):
                text = f"{model._meta.label} has the quoted table name {model._meta.db_table}."
                remedy = (
                    "Triggers can't follow it. Remove `capture`: signals capture its saves. Or write the table's plain "
                    "name in db_table, and let the search_path of the connection name its schema."
                )
                yield Fault(path, "E049", text, remedy)
            if model._meta.concrete_model._meta.parents:
                text = f"{model._meta.label} has columns in the table of a parent model, where triggers can't follow."
                yield Fault(path, "E049", text, "Remove `capture`: signals capture saves of both.")
            for field in model._meta.pk_fields:
                kind = triggers.column_type(field, router.db_for_write(model))
                if connections[router.db_for_write(model)].vendor == "postgresql" and not kind.startswith(KEY_TYPES):
                    text = f"Triggers can't write the key of {model._meta.label}: it is of the type {kind}."
                    yield Fault(path, "E049", text, "Use whole numbers, text or UUIDs as keys, or remove `capture`.")


def _models(path: str, source: OrderSource) -> Faults:
    remedy = "Set `model` to 'app_label.Model' of an installed app."
    owners: list[OrderSource | Related] = [source, *source.all_related]
    for owner in owners:
        try:
            model = owner.get_model()
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            yield Fault(path, "E041", f"Its model can't be found ({error}).", remedy)
            continue
        if not (isinstance(model, type) and issubclass(model, models.Model)):
            yield Fault(path, "E041", f"get_model() returns {model!r:.60}, which is not a model.", remedy)
        elif model._meta.abstract or model._meta.swapped:
            yield Fault(path, "E041", f"{model._meta.label} is abstract or swapped for another model.", remedy)
        else:
            yield from _key(path, model)


def _key(path: str, model: type[models.Model]) -> Faults:
    key, most = model._meta.pk, most_characters("order_pk")
    if key and key.max_length and key.max_length > most:
        yield Fault(
            path,
            "E041",
            f"The primary key of {model._meta.label} may have {key.max_length} characters; {most} can be stored.",
            f"Make it at most {most} characters long.",
        )


def _fields(path: str, source: OrderSource) -> Faults:
    yield from _columns(path, source.get_model(), (*source.watched, *source.transitions))
    for related in source.all_related:
        yield from _columns(path, related.get_model(), related.watched)
    for field in source.get_model()._meta.concrete_fields:
        if field.name in source.transitions and field.get_internal_type() in UNHASHABLE:
            yield Fault(
                path,
                "E042",
                f"`transitions` names {field.name!r}, whose values are lists or objects.",
                "Watch it instead, and publish the topic yourself (orderhooks.publishing.publish).",
            )


def _only(path: str, source: OrderSource) -> Faults:
    """`only` must be a condition that can be evaluated for the captured values of one row."""
    if source.only is None:
        return
    for misuse in conditions.misuses(source.only, source.get_model()):
        remedy = (
            "Write a Q of columns of the order, with the lookups exact, in and isnull, and with &, | and ~, as in "
            "~Q(state='cart') or Q(placed_at__isnull=False)."
        )
        yield Fault(path, "E042", f"`only` {misuse}.", remedy)


def _columns(path: str, model: type[models.Model], names: Sequence[str], check_id: str = "E042") -> Faults:
    columns = _names_of_columns(model)
    for name in names:
        if name not in columns:
            near = spelling.nearest(str(name), columns)
            remedy = f"Did you mean {near!r}?" if near else f"Name concrete fields of the model: {_some(columns)}."
            yield Fault(path, check_id, f"{model._meta.label} has no column {name!r}.", remedy)


def _names_of_columns(model: type[models.Model]) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if field.concrete]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_COLUMNS} more" if len(names) > MOST_COLUMNS else ""
    return ", ".join(names[:MOST_COLUMNS]) + more


def _order(path: str, source: OrderSource) -> Faults:
    """The model must have the fields of `newest_first`, on which `find()` may depend, `dated_by` and `store_field`."""
    model = source.get_model()
    columns = _names_of_columns(model)
    for by in source.newest_first:
        try:
            plain(model, router.db_for_write(model)).order_by(by)
        except FieldError:
            near = spelling.nearest(by.lstrip("-"), columns)
            sign = "-" if by.startswith("-") else ""
            remedy = f"Did you mean {sign + near!r}?" if near else f"Name fields of the model: {_some(columns)}."
            text = f"`newest_first` names {by!r}, and {model._meta.label} can't be sorted by that."
            yield Fault(path, "E042", text, remedy)
    if source.store_field and source.store_field not in columns:
        near = spelling.nearest(source.store_field, columns)
        remedy = f"Did you mean {near!r}?" if near else f"Name a field of the model: {_some(columns)}."
        text = f"`store_field` names {source.store_field!r}, and {model._meta.label} has no such field."
        yield Fault(path, "E042", text, remedy)
    dates = [field.name for field in model._meta.concrete_fields if isinstance(field, models.DateField)]
    if source.dated_by and source.dated_by not in dates:
        near = spelling.nearest(source.dated_by, dates)
        remedy = f"Did you mean {near!r}?" if near else f"Name a date of the model: {_some(dates) or 'it has none'}."
        text = f"`dated_by` names {source.dated_by!r}, and {model._meta.label} has no such date."
        yield Fault(path, "E042", text, remedy)


def _paths(path: str, source: OrderSource) -> Faults:
    """Each path must lead along foreign keys, from the related row to the order or from the order to the row."""
    for related in source.all_related:
        order, row = source.get_model(), related.get_model()
        start, steps, end = (
            (order, [related.pointer], row) if related.pointer else (row, related.path.split("__"), order)
        )
        for place, name in enumerate(steps):
            fields = {field.name: field for field in start._meta.get_fields()}
            is_last = place == len(steps) - 1
            target: Any = getattr(fields.get(name), "related_model", None)
            found = isinstance(fields.get(name), models.ForeignObject) and isinstance(target, type)
            if found and is_last and same_row(target, end):
                break
            if found and not is_last:
                start = target
                continue
            if getattr(fields.get(name), "many_to_many", False):
                yield _many_to_many(path, related, start, fields[name])
                break
            leads = target._meta.label if isinstance(target, type) and issubclass(target, models.Model) else "nothing"
            near = [field.name for field in fields.values() if _leads_to(field, end)]
            remedy = (
                f"Did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"Name {start._meta.label}'s foreign key to {end._meta.label}."
            )
            what = "lines.order_field" if related is source.lines else f"path of {related.key!r}"
            text = f"`{what}` is {name!r}, which leads to {leads}, not to {end._meta.label}."
            yield Fault(path, "E041", text, remedy)
            break


def _many_to_many(path: str, related: Related, start: type[models.Model], field: Any) -> Fault:
    text = f"The path of {related.key!r} has {field.name!r} of {start._meta.label}, a many-to-many, not a foreign key."
    # Seen from either side.
    through = (field if hasattr(field, "through") else field.remote_field).through
    remedy = f"Name the model between them, {through._meta.label}, as the model of the rows, and its foreign key."
    return Fault(path, "E041", text, remedy)


def _keys(path: str, source: OrderSource) -> Faults:
    """Each key must be a name of its own, and its topics must be for things that happen to rows."""
    taken = {*source.watched, *source.transitions}
    most = most_characters("related")
    for related in source.all_related:
        if not isinstance(related.key, str) or not related.key.isidentifier() or len(related.key) > most:
            text = f"The key {related.key!r} of related rows is not a name."
            yield Fault(path, "E042", text, f"Use letters, digits and `_`, at most {most}, as in 'payments'.")
        elif related.key in taken:
            text = f"The key {related.key!r} of related rows is also a watched field, or the key of other rows."
            yield Fault(path, "E042", text, "Give each its own name: both appear in an event's `changes`.")
        taken.add(related.key)
        for kind in related.topics:
            if kind not in ROW_TOPICS:
                text = f"`topics` of {related.key!r} names {kind!r}."
                yield Fault(path, "E045", text, f"Name what happens to a row: {', '.join(ROW_TOPICS)}.")


def _leads_to(field: Any, order: type[models.Model]) -> bool:
    target = getattr(field, "related_model", None)
    return isinstance(field, models.ForeignObject) and isinstance(target, type) and same_row(target, order)


def _topics(path: str, source: OrderSource) -> Faults:
    if not isinstance(conf.current().topics, Mapping):
        return  # check_settings reports it
    if fault := topics.fault_of(source.topics):
        yield Fault(path, "E045", f"Its `topics` can't be used: {source.topics!r:.60}.", fault)
        return
    known = topics.catalogue()
    for topic in source.own_topics():
        if topic not in known:
            near = spelling.nearest(str(topic), known)
            remedy = f"Did you mean {near!r}? " if near else ""
            remedy += "Add your own topics to ORDERHOOKS['TOPICS']."
            yield Fault(path, "E045", f"The topic {topic!r} is not in the catalogue.", remedy)


def _values(path: str, source: OrderSource) -> Faults:
    """A value in `transitions` that its field never has stands for nothing."""
    model = source.get_model()
    fields = {field.name: field for field in model._meta.concrete_fields}
    for name, by_value in source.transitions.items():
        field: Any = fields.get(name)
        if field is None or field.get_internal_type() in UNHASHABLE:
            continue  # `_fields` reports it
        for value in by_value:
            if remedy := _never(model, field, value):
                text = f"`transitions` names {value!r} of {name!r}, which never has that value."
                yield Fault(path, "W045", text, remedy)


def _never(model: type[models.Model], field: Any, value: Any) -> str:
    """What to do about a value that the field never has. Blank if it may have it."""
    if value is None:
        return "" if field.null else "Remove it: the field is never NULL."
    try:
        stored = stored_values(model, (field.name,), {field.attname: value})[field.name]
    except (ValidationError, TypeError, ValueError):
        stored = None
    if stored != value:
        return f"Write {stored!r}." if stored is not None else "Write the value as it is stored."
    # Of a TextField it limits forms alone.
    most = None if isinstance(field, models.TextField) else field.max_length
    if isinstance(value, str) and most is not None and len(value) > most:
        return f"Its values have at most {most} characters."
    choices = [stored_values(model, (field.name,), {field.attname: one})[field.name] for one, _ in field.flatchoices]
    if not choices or value in choices or (value == "" and field.blank):
        return ""
    near = spelling.nearest(str(value), map(str, choices))
    meant = next((one for one in choices if str(one) == near), None)
    return f"Did you mean {meant!r}?" if near else f"Name some of its choices: {_some([str(one) for one in choices])}."


def _payload_fields(path: str, source: OrderSource) -> Faults:
    """The fields that receivers get must exist."""
    fields = source.payload_fields
    if fields is None:
        if type(source).payload is OrderSource.payload and not (source.watched or source.transitions):
            remedy = "Name the fields that receivers get: payload_fields = FieldPayload('number', 'total')."
            yield Fault(path, "E043", "It watches no field, and has neither `payload_fields` nor payload().", remedy)
    elif not isinstance(fields, FieldPayload):
        remedy = "Write payload_fields = FieldPayload('number', 'total', lines=('sku',))."
        yield Fault(path, "E043", f"`payload_fields` is {fields!r:.60}.", remedy)
    else:
        yield from _columns(path, source.get_model(), fields.fields, "E043")
        for name, names in fields.rows:
            try:
                model = rows_of(source, name).model
            except FieldDoesNotExist as error:
                remedy = "Use a key of `lines` or `related`, or the name by which the order reaches the rows."
                yield Fault(path, "E043", f"`payload_fields`: {error}", remedy)
            else:
                yield from _columns(path, model, names, "E043")


def _personal(path: str, source: OrderSource) -> Faults:
    """Each path of `personal` must lead somewhere, and to what can be erased."""
    former = [] if source.personal is None else _former_schemas(source)
    for one in source.personal or ():
        problem, beside = path_fault(source, str(one), former)
        if problem:
            near = spelling.nearest(str(one), beside)
            remedy = f"Did you mean {near!r}?" if near else f"Name one of: {_some(beside)}." if beside else ""
            remedy = remedy or "Let the schema allow null there, or name another path."
            yield Fault(path, "E047", f"`personal` names {one!r}: {problem}.", remedy)


def _former_schemas(source: OrderSource) -> list[Mapping[str, Any]]:
    """The schemas of its payloads in older versions of the body, in which stored events may be."""
    example = catalogue.example("order.updated", source)
    bodies = [versions.convert(example, name) for name in versions.registered() if name != versions.newest()]
    return [json_schema.of_example(body["data"].get("order"), {}, None, {}) for body in bodies]


def _example(path: str, source: OrderSource) -> Faults:
    schema, example = source.schema(), source.example()
    json.dumps(schema)
    yield from misfit(path, "E044", "Its example() does not fit its schema()", example, schema)


STATIC: Sequence[tuple[str, str, Trial]] = (
    ("E040", "name", _name),
    ("E042", "reading of attributes", attributes.types),
    ("E041", "model", _models),
    ("E042", "only", _only),
    ("E042", "watched", _fields),
    ("E049", "capture", _capture),
    ("E042", "newest_first", _order),
    ("E041", "lines or related", _paths),
    ("E042", "related", _keys),
    ("E045", "transitions", _topics),
    ("E043", "payload_fields", _payload_fields),
    ("E044", "schema() or example()", _example),
    ("E047", "personal", _personal),
    ("W045", "transitions", _values),
)
