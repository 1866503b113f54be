"""Trials: is an order source fit for use? Tried before it is trusted: by the system checks, the doctor, and at start.

`static_faults` needs no database; `live_faults` reads the newest order as capture would. The source's code is the
store's own: whatever it raises is a fault with a sentence, never a traceback.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import connections, models, router, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from orderhooks import conf, json_schema, spelling, topics
from orderhooks.models import Event
from orderhooks.sources import Lines, OrderSource, WatchedModel, plain, read_columns, stored_values

__all__ = ["CHECK_IDS", "Fault", "is_unmigrated", "live_faults", "log_faults", "static_faults"]

# The app's own, where stores look.
logger = logging.getLogger("orderhooks")

MOST_MISFITS = 3
MOST_COLUMNS = 30
# Transitions tell values apart by looking them up.
UNHASHABLE = ("JSONField", "ArrayField", "HStoreField")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a source (its dotted path), in a sentence, and what to do. `check_id` tells the kind."""

    source: str
    check_id: str
    text: str
    remedy: str


Faults = Iterator[Fault]


def static_faults() -> list[Fault]:
    """What is wrong with the sources of the setting SOURCES, as far as can be told without a database. Never raises.

    Nothing is said of a setting that is not a list; see the check of the settings.
    """
    faults: list[Fault] = []
    known: list[tuple[str, OrderSource]] = []
    for path in _paths():
        found, source = _made(path)
        faults += found
        if source is not None:
            known.append((path, source))
            faults += _tried(path, source, STATIC)
    return [*faults, *_doubled(known)]


def live_faults() -> list[Fault]:
    """What goes wrong when each source is used on the database: its statements, its newest order. Never raises.

    Sources that have static faults are left out: those come first. A few queries a source; nothing is written.
    """
    faulty = {fault.source for fault in static_faults()}
    faults: list[Fault] = []
    for path in _paths():
        _found, source = _made(path)
        if source is not None and path not in faulty:
            faults += _tried(path, source, [(check_id, what, _apart(trial)) for check_id, what, trial in LIVE])
    return faults


def is_unmigrated() -> bool:
    """Whether migrations wait to be applied where events are written. `migrate` must not be refused for them."""
    executor = MigrationExecutor(connections[router.db_for_write(Event)])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def log_faults() -> None:
    """A line in the log for each static fault: system checks don't run under a WSGI or ASGI server. Never raises."""
    for fault in static_faults():
        logger.error("order source %s: %s %s (%s)", fault.source, fault.text, fault.remedy, fault.check_id)


def _paths() -> Sequence[str]:
    if not isinstance(conf.raw(), Mapping):
        return []
    paths = conf.current().sources
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list | tuple) else []


def _made(path: str) -> tuple[list[Fault], OrderSource | None]:
    try:
        cls = import_string(path)
    except ImportError as error:
        return [Fault(path, "E048", f"It can't be imported ({error}).", "Give the path of an OrderSource class.")], None
    except Exception as error:
        return [Fault(path, "E048", f"Its module raises {_told(error)}.", "Fix the module.")], None
    if not (isinstance(cls, type) and issubclass(cls, OrderSource)):
        remedy = "Derive it from orderhooks.sources.OrderSource."
        return [Fault(path, "E048", "It is not an OrderSource class.", remedy)], None
    try:
        return [], cls()
    except Exception as error:
        remedy = "Let __init__ work without arguments and without the database."
        return [Fault(path, "E048", f"It can't be made: it raises {_told(error)}.", remedy)], None


Trial = Callable[[str, OrderSource], Faults]


def _tried(path: str, source: OrderSource, trials: "Sequence[tuple[str, str, Trial]]") -> list[Fault]:
    """Each trial's faults, up to the first trial that finds some: what comes after would only repeat them."""
    for check_id, what, trial in trials:
        try:
            found = list(trial(path, source))
        except Exception as error:
            found = [Fault(path, check_id, f"Its {what} raises {_told(error)}.", f"Fix its {what}.")]
        if found:
            return found
    return []


def _apart(trial: Trial) -> Trial:
    """The trial in a savepoint or transaction of its own: a statement that fails spoils nothing else."""

    def apart(path: str, source: OrderSource) -> Faults:
        with transaction.atomic(using=router.db_for_write(source.get_model())):
            return iter(list(trial(path, source)))

    return apart


def _name(path: str, source: OrderSource) -> Faults:
    name, most = getattr(source, "name", None), _length("source")
    if not isinstance(name, str) or not name:
        yield Fault(path, "E040", "It has no `name`.", 'Set one, such as name = "shop"; it marks its events for ever.')
    elif len(name) > most:
        yield Fault(path, "E040", f"Its `name` has {len(name)} characters.", f"Give it at most {most}.")


def _models(path: str, source: OrderSource) -> Faults:
    remedy = "Set `model` to 'app_label.Model' of an installed app."
    for owner in (source, *([source.lines] if source.lines else ())):
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
    key, most = model._meta.pk, _length("order_pk")
    if key and key.max_length and key.max_length > most:
        yield Fault(
            path,
            "E041",
            f"The primary key of {model._meta.label} may have {key.max_length} characters; {most} can be stored.",
            f"Make it at most {most} characters long.",
        )


def _fields(path: str, source: OrderSource) -> Faults:
    owners: list[tuple[type[models.Model], str, Any, tuple[str, ...]]] = [
        (source.get_model(), "watched", source.watched, tuple(source.transitions))
    ]
    if source.lines:
        owners.append((source.lines.get_model(), "lines.watched", source.lines.watched, ()))
    for model, what, watched, others in owners:
        if isinstance(watched, str):
            yield _text_for_tuple(path, what, watched)
            continue
        yield from _columns(path, model, (*watched, *others))
    for field in source.get_model()._meta.concrete_fields:
        if field.name in source.transitions and field.get_internal_type() in UNHASHABLE:
            yield Fault(
                path,
                "E042",
                f"`transitions` names {field.name!r}, whose values are lists or objects.",
                "Watch it instead, and publish the topic yourself (orderhooks.publishing.publish).",
            )


def _text_for_tuple(path: str, what: str, given: str) -> Fault:
    remedy = f'Write a tuple: {what.rpartition(".")[2]} = ("{given}",).'
    return Fault(path, "E042", f"`{what}` is the text {given!r}.", remedy)


def _columns(path: str, model: type[models.Model], names: Sequence[str]) -> Faults:
    columns = _names_of_columns(model)
    for name in names:
        if name not in columns:
            near = spelling.nearest(str(name), columns)
            remedy = f"Did you mean {near!r}?" if near else f"Name concrete fields of the model: {_some(columns)}."
            yield Fault(path, "E042", f"{model._meta.label} has no column {name!r}.", remedy)


def _names_of_columns(model: type[models.Model]) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if field.concrete]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_COLUMNS} more" if len(names) > MOST_COLUMNS else ""
    return ", ".join(names[:MOST_COLUMNS]) + more


def _order(path: str, source: OrderSource) -> Faults:
    """The orders can be put in order as the source says; `find()` may be built on it."""
    if isinstance(source.newest_first, str):
        yield _text_for_tuple(path, "newest_first", source.newest_first)
        return
    model = source.get_model()
    columns = _names_of_columns(model)
    for by in source.newest_first:
        try:
            plain(model, router.db_for_write(model)).order_by(by)
        except FieldError:
            near = spelling.nearest(by.lstrip("-"), columns)
            sign = "-" if by.startswith("-") else ""
            remedy = f"Did you mean {sign + near!r}?" if near else f"Name fields of the model: {_some(columns)}."
            text = f"`newest_first` names {by!r}, and {model._meta.label} can't be put in order by that."
            yield Fault(path, "E042", text, remedy)


def _foreign_key(path: str, source: OrderSource) -> Faults:
    if source.lines is None:
        return
    order, line, name = source.get_model(), source.lines.get_model(), source.lines.order_field
    fields = {field.name: field for field in line._meta.get_fields()}
    if name in fields and _leads_to(fields[name], order):
        return
    target = getattr(fields.get(name), "related_model", None)
    leads = target._meta.label if isinstance(target, type) and issubclass(target, models.Model) else "nothing"
    near = [field.name for field in fields.values() if _leads_to(field, order)]
    remedy = (
        f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"Name {line._meta.label}'s foreign key to {order._meta.label}."
    )
    text = f"`lines.order_field` is {name!r}, which leads to {leads}, not to {order._meta.label}."
    yield Fault(path, "E041", text, remedy)


def _leads_to(field: Any, order: type[models.Model]) -> bool:
    target = getattr(field, "related_model", None)
    return isinstance(field, models.ForeignObject) and isinstance(target, type) and _same_row(target, order)


def _same_row(one: type[models.Model], other: type[models.Model]) -> bool:
    """Whether they are one model, a proxy of it, or parent and child of multi-table inheritance."""
    concrete = [model._meta.concrete_model or model for model in (one, other)]
    return issubclass(concrete[0], concrete[1]) or issubclass(concrete[1], concrete[0])


def _topics(path: str, source: OrderSource) -> Faults:
    if not isinstance(conf.current().topics, Mapping):
        return  # told by the check of the settings
    known = topics.catalogue()
    for by_value in source.transitions.values():
        for topic in by_value.values():
            if topic not in known:
                near = spelling.nearest(str(topic), known)
                remedy = f"Did you mean {near!r}? " if near else ""
                remedy += "Topics of your own are added to ORDERHOOKS['TOPICS']."
                yield Fault(path, "E045", f"The topic {topic!r} is not in the catalogue.", remedy)


def _payload_method(path: str, source: OrderSource) -> Faults:
    if type(source).payload is OrderSource.payload:
        remedy = "Write payload(self, order): it returns what receivers get as `order`."
        yield Fault(path, "E043", "It has no method `payload`.", remedy)


def _example(path: str, source: OrderSource) -> Faults:
    schema, example = source.schema(), source.example()
    json.dumps(schema)
    yield from _fit(path, "E044", "Its example() does not fit its schema()", example, schema)


def _fit(path: str, check_id: str, what: str, value: Any, schema: Any) -> Faults:
    """`value` can be written as JSON, and fits the schema."""
    as_json = json.loads(json.dumps(value, allow_nan=False))
    found = list(json_schema.misfits(as_json, schema))
    if found:
        more = f" and {len(found) - MOST_MISFITS} more" if len(found) > MOST_MISFITS else ""
        yield Fault(path, check_id, f"{what}: {'; '.join(found[:MOST_MISFITS])}{more}.", "Change the one or the other.")


def _doubled(known: Sequence[tuple[str, OrderSource]]) -> Faults:
    """Two sources of one name, or of one model."""
    names = Counter(name for _path, source in known if isinstance(name := getattr(source, "name", None), str) and name)
    watched: dict[type[models.Model], str] = {}
    for path, source in known:
        if names[name := getattr(source, "name", "")] > 1:
            remedy = "Give each source a name of its own: it marks its events for ever."
            yield Fault(path, "E040", f"Two sources have the name {name!r}.", remedy)
        own: list[type[models.Model]] = []
        owners: list[OrderSource | Lines] = [source, *([source.lines] if source.lines else ())]
        for owner in owners:
            try:
                model = owner.get_model()
            except Exception:  # noqa: S112 - told by its own trial
                continue
            other = watched.setdefault(model, path)
            twice = model in own
            own.append(model)
            if other != path or twice:
                remedy = "A model belongs to one source: leave one out, or tell its orders apart in one payload()."
                yield Fault(path, "E041", f"{model._meta.label} is watched by {other!r} already.", remedy)


STATIC: Sequence[tuple[str, str, Trial]] = (
    ("E040", "name", _name),
    ("E041", "model", _models),
    ("E042", "watched", _fields),
    ("E042", "newest_first", _order),
    ("E041", "lines", _foreign_key),
    ("E045", "transitions", _topics),
    ("E043", "payload()", _payload_method),
    ("E044", "schema() or example()", _example),
)


def _newest(model: type[models.Model]) -> Any:
    # Not by the model's managers: they may hide rows, or join.
    return plain(model, router.db_for_write(model)).order_by("-pk").first()


def _fetched(source: OrderSource, newest: Any) -> Any:
    return source.fetch(str(WatchedModel(source).order_pk(newest)), using=newest._state.db)


def _statements(path: str, source: OrderSource) -> Faults:
    """The tables are there, and every column that is read."""
    for owner in (source, *([source.lines] if source.lines else ())):
        model = owner.get_model()
        list(plain(model, router.db_for_write(model))[:1])
    return
    yield


def _captured(path: str, source: OrderSource) -> Faults:
    """The watched columns of the newest order and line can be read, and told, as capture does it before a save."""
    for watched_model in (WatchedModel(source), *([WatchedModel(source, source.lines)] if source.lines else ())):
        newest = _newest(watched_model.model)
        if newest is None:
            continue
        using, where = newest._state.db, watched_model.where(newest)
        fields = [watched_model.model._meta.get_field(name) for name in watched_model.watched]
        names = tuple(dict.fromkeys((*(field.attname for field in fields), *watched_model.link_columns)))
        row = read_columns(watched_model.model, names, where, "trial", using=using)
        if row is None:
            text = f"The newest row of {watched_model.model._meta.label} is not found by its key."
            yield Fault(path, "E046", text, "Give the model a key that can be looked for.")
            continue
        values = stored_values(watched_model.model, watched_model.watched, row, using=using)
        order_pk = (
            watched_model.order_pk_of(row, using=using)
            if watched_model.lines
            else watched_model.order_pk(newest, using=using)
        )
        order = source.fetch(order_pk, using=using) if order_pk else None
        told = {name: source.present(order, name, value) for name, value in values.items()} if order else {}
        json.dumps([values, told], allow_nan=False)


def _newest_order(path: str, source: OrderSource) -> Faults:
    """The newest order can be read as capture reads it, by its key and by its number; what it gives can be stored."""
    newest = _newest(source.get_model())
    if newest is None:
        return
    order = _fetched(source, newest)
    if order is None or order.pk != newest.pk:
        remedy = "Let fetch() return the order of that primary key."
        yield Fault(path, "E046", f"fetch() does not find its newest order, {newest.pk}.", remedy)
        return
    number, store = source.number(order), source.store(order)
    for what, value, column in (("number", number, "order_number"), ("store", store, "store")):
        if not isinstance(value, str):
            text = f"{what}() of its newest order returns {value!r:.60}, not text."
            yield Fault(path, "E046", text, "Return str(…).")
        elif len(value) > _length(column):
            text = f"{what}() of its newest order returns {len(value)} characters."
            yield Fault(path, "E046", text, f"Return at most {_length(column)}.")


def _ordered(path: str, source: OrderSource) -> Faults:
    """The orders can be put in order, however the source does it."""
    list(source.newest(using=router.db_for_write(source.get_model()))[:1])
    return
    yield


def _findable(path: str, source: OrderSource) -> Faults:
    newest = _newest(source.get_model())
    if newest is None:
        return
    order = _fetched(source, newest)
    if source.find(source.number(order), store=source.store(order), using=newest._state.db) is None:
        text = f"find() does not find its newest order, {newest.pk}, by its number."
        yield Fault(path, "W047", text, "Override find() together with number(): people look for orders by it.")


def _newest_payload(path: str, source: OrderSource) -> Faults:
    newest = _newest(source.get_model())
    if newest is None:
        return
    order = _fetched(source, newest)
    what = f"The payload() of its newest order, {newest.pk}, does not fit its schema()"
    yield from _fit(path, "E046", what, source.payload(order), source.schema())


LIVE: Sequence[tuple[str, str, Trial]] = (
    ("E046", "table", _statements),
    ("E046", "reading of watched fields, or present(),", _captured),
    ("E046", "fetch(), number() or store()", _newest_order),
    ("E046", "payload() of its newest order", _newest_payload),
    ("E046", "newest()", _ordered),
    ("W047", "find()", _findable),
)


# Every kind of fault.
CHECK_IDS = frozenset({"E048", *(check_id for check_id, _what, _trial in (*STATIC, *LIVE))})


def _length(column: str) -> int:
    """How long a text the column of events can hold."""
    try:
        return Event._meta.get_field(column).max_length or 1_000_000  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return 1_000_000


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300].replace("\n", " ")
