"""Installing: put the triggers of the configured sources in place, take others away, and say where they differ."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import DatabaseError, connections, router, transaction

from orderhooks import conf, logs, sources
from orderhooks.models import Change
from orderhooks.sources import OrderSource, WatchedModel
from orderhooks.triggers.statements import PREFIX, Capture, for_model, function_of, schema_of

__all__ = [
    "any_are_used",
    "are_used",
    "are_used_for",
    "differences",
    "differences_by_source",
    "install",
    "install_after_migrate",
    "wanted",
]

logger = logs.get_logger(__name__)

# A table that somebody keeps locked must not hold up the store's deployment.
LOCK_SECONDS = 5
LIKE = PREFIX.replace("_", r"\_") + "%"
FUNCTIONS = """
SELECT f.proname, f.prosrc FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE n.nspname = %s AND f.proname LIKE %s
"""
TRIGGERS = """
SELECT t.tgname, c.relname, t.tgenabled IN ('O', 'A'), f.proname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc f ON f.oid = t.tgfoid
JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE NOT t.tgisinternal AND n.nspname = %s AND f.proname LIKE %s
"""
FUNCTIONS_ANYWHERE = """
SELECT n.nspname, f.proname FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE f.proname LIKE %s
"""


def are_used(source: OrderSource, using: str) -> bool:
    """Whether changes of the source's orders are captured by triggers in that database, not by signals."""
    return source.capture == "triggers" and connections[using].vendor == "postgresql"


def are_used_for(source_name: str, using: str) -> bool:
    """The same for a source by its name. False if it is not in the setting SOURCES."""
    return connections[using].vendor == "postgresql" and source_name in _with_triggers(conf.current().sources)


def any_are_used(using: str) -> bool:
    """Whether any source captures by triggers in that database."""
    return connections[using].vendor == "postgresql" and bool(_with_triggers(conf.current().sources))


@functools.cache
def _with_triggers(_paths: tuple[str, ...]) -> frozenset[str]:
    return frozenset(source.name for source in sources.configured().values() if source.capture == "triggers")


def wanted(using: str, schema: str) -> dict[str, Capture]:
    """The functions of all sources that capture by triggers, by name. Tables that are not there yet are left out."""
    tables = set(connections[using].introspection.table_names())
    captures = (
        for_model(watched_model, using, schema)
        for source in sources.configured().values()
        if are_used(source, using)
        for watched_model in _watched_models(source)
        if watched_model.model._meta.db_table in tables
    )
    return {capture.name: capture for capture in captures}


def _watched_models(source: OrderSource) -> Iterator[WatchedModel]:
    yield WatchedModel(source)
    yield from (WatchedModel(source, related) for related in source.all_related)


def install(using: str) -> None:
    """Make the database's functions and triggers those of the configured sources. What is right is not touched.

    Raises:
        DatabaseError: somebody keeps a table locked, or the user may not create triggers.
    """
    schema = _schema(using)
    if schema is None:
        _remove_all(using)
        return
    captures = wanted(using, schema)
    functions, triggers = _installed(using, schema)
    quote = connections[using].ops.quote_name
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_SECONDS}s"])
        for name in functions.keys() - captures.keys():
            cursor.execute(f"DROP FUNCTION {quote(schema)}.{quote(name)}() CASCADE")
        for name, capture in captures.items():
            if functions.get(name) != capture.body:
                cursor.execute(capture.create)
            for trigger, create in capture.triggers.items():
                if triggers.get(trigger) != (capture.table, True, name):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {quote(trigger)} ON {quote(capture.table)}")
                    cursor.execute(create)


def differences(using: str) -> list[str]:
    """How the database's functions and triggers differ from those of the configured sources, in sentences."""
    return [text for texts in differences_by_source(using).values() for text in texts]


def differences_by_source(using: str) -> dict[str, list[str]]:
    """The same by the name of the source. The functions that belong to none are under a blank name."""
    schema = _schema(using)
    if schema is None:
        return {}
    captures = wanted(using, schema)
    functions, triggers = _installed(using, schema)
    left = functions.keys() - captures.keys()
    found: dict[str, list[str]] = {}
    for source in sources.configured().values():
        texts = found.setdefault(source.name, [])
        for watched_model in _watched_models(source):
            name = function_of(watched_model)
            if name in captures:
                texts += _differences_of(captures[name], functions, triggers)
            elif are_used(source, using):
                texts.append(_not_found(watched_model.model._meta.db_table, using))
            elif name in left:
                texts.append(f"The function {name} is still there, and its order source captures by signals.")
            left -= {name}
    found[""] = [f"The function {name} belongs to no order source." for name in sorted(left)]
    return found


def _differences_of(
    capture: Capture, functions: Mapping[str, str], triggers: Mapping[str, tuple[str, bool, str]]
) -> Iterator[str]:
    name = capture.name
    if name not in functions:
        yield f"The function {name}, for the table {capture.table}, is missing."
    elif functions[name] != capture.body:
        yield f"The function {name}, for the table {capture.table}, is not as its order source needs it."
    for trigger in capture.triggers:
        match triggers.get(trigger):
            case None:
                yield f"The trigger {trigger} on the table {capture.table} is missing."
            case (_, False, _):
                yield f"The trigger {trigger} on the table {capture.table} is disabled."
            case (table, _, function) if (table, function) != (capture.table, name):
                yield f"The trigger {trigger} is on another table, or calls another function."


def _not_found(table: str, using: str) -> str:
    if table in connections[using].introspection.table_names(include_views=True):
        return f"{table} is a view, or part of a table, which triggers can't follow: remove `capture` of its source."
    return f"The table {table} is in no schema of the connection's search_path, so it has no triggers: add its schema."


def install_after_migrate(*, using: str, **_signal: Any) -> None:
    """After `migrate`: see `install`. An error is logged, and the checks show what is missing."""
    if connections[using].vendor != "postgresql" or using != router.db_for_write(Change):
        return
    try:
        install(using)
    except DatabaseError as error:
        logger.error(
            "the triggers of order sources could not be put in place (%s); run `manage.py migrate` again", error
        )
    except Exception:
        # The checks name what is wrong with a source.
        logger.exception("the triggers of order sources could not be put in place")


def _remove_all(using: str) -> None:
    """After `migrate orderhooks zero`: triggers without our tables would only warn."""
    quote = connections[using].ops.quote_name
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(FUNCTIONS_ANYWHERE, [LIKE])
        for schema, name in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION {quote(schema)}.{quote(name)}() CASCADE")


def _schema(using: str) -> str | None:
    """The schema of the tables of orderhooks. None before they are migrated."""
    return schema_of(connections[using].ops.quote_name(Change._meta.db_table), using)


def _installed(using: str, schema: str) -> tuple[dict[str, str], dict[str, tuple[str, bool, str]]]:
    with connections[using].cursor() as cursor:
        cursor.execute(FUNCTIONS, [schema, LIKE])
        functions = dict(cursor.fetchall())
        cursor.execute(TRIGGERS, [schema, LIKE])
        triggers = {name: (table, enabled, function) for name, table, enabled, function in cursor.fetchall()}
    return functions, triggers
