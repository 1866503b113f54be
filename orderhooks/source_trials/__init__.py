"""Trials: is an order source fit for use? Tried before it is trusted: by the system checks, the doctor, and at start.

`static_faults` needs no database; `live_faults` reads the newest order as capture would. The source's code is the
store's own: whatever it raises is a fault with a sentence, never a traceback.
"""

import logging
from collections.abc import Mapping, Sequence

from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from orderhooks import conf
from orderhooks.models import Event
from orderhooks.source_trials.faults import Fault, error_text, faults_of
from orderhooks.source_trials.live import LIVE, in_savepoint
from orderhooks.source_trials.static import STATIC, shared_names_and_models
from orderhooks.sources import OrderSource

__all__ = ["CHECK_IDS", "Fault", "is_unmigrated", "live_faults", "log_faults", "static_faults"]

# The app's own, where stores look.
logger = logging.getLogger("orderhooks")

# Every kind of fault.
CHECK_IDS = frozenset({"E048", *(check_id for check_id, _what, _trial in (*STATIC, *LIVE))})


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
            faults += faults_of(path, source, STATIC)
    return [*faults, *shared_names_and_models(known)]


def live_faults() -> list[Fault]:
    """What goes wrong when each source is used on the database: its statements, its newest order. Never raises.

    Sources that have static faults are left out: those come first. A few queries a source; nothing is written.
    """
    faulty = {fault.source for fault in static_faults()}
    faults: list[Fault] = []
    for path in _paths():
        _found, source = _made(path)
        if source is not None and path not in faulty:
            faults += faults_of(path, source, [(check_id, what, in_savepoint(trial)) for check_id, what, trial in LIVE])
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
        return [Fault(path, "E048", f"Its module raises {error_text(error)}.", "Fix the module.")], None
    if not (isinstance(cls, type) and issubclass(cls, OrderSource)):
        remedy = "Derive it from orderhooks.sources.OrderSource."
        return [Fault(path, "E048", "It is not an OrderSource class.", remedy)], None
    try:
        return [], cls()
    except Exception as error:
        remedy = "Let __init__ work without arguments and without the database."
        return [Fault(path, "E048", f"It can't be made: it raises {error_text(error)}.", remedy)], None
