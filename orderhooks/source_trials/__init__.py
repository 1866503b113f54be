"""Trials of order sources: each source is tried before it is used, by the system checks, by the doctor, and at start.

`static_faults` needs no database. `live_faults` reads the newest order of each source.
"""

import logging

from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor

from orderhooks import logs
from orderhooks.models import Event
from orderhooks.source_trials import attributes, running
from orderhooks.source_trials.live import LIVE, isolated, left_over
from orderhooks.source_trials.running import Fault
from orderhooks.source_trials.shared import shared
from orderhooks.source_trials.static import STATIC
from orderhooks.sources import OrderSource

__all__ = ["CHECK_IDS", "Fault", "is_unmigrated", "live_faults", "log_faults", "static_faults"]

# The logger of the app, which stores configure.
logger = logs.get_logger("orderhooks")

# The ids of all faults.
CHECK_IDS = frozenset({"E048", "W044", *(check_id for check_id, _what, _trial in (*STATIC, *LIVE))})


def static_faults() -> list[Fault]:
    """The faults of the sources in the setting SOURCES that can be found without a database. Raises nothing.

    It is empty if the setting is not a list: the check of the settings reports that.
    """
    faults: list[Fault] = []
    known: list[tuple[str, OrderSource]] = []
    for path in running.source_paths():
        found, source = running.load(path)
        faults += found
        if source is not None:
            known.append((path, source))
            faults += running.run(path, source, STATIC)
            faults += attributes.misspelt(path, source)
    return [*faults, *shared(known)]


def live_faults() -> list[Fault]:
    """The faults that show when sources read their newest orders from the database. Raises nothing.

    Sources with static errors are left out. It takes a few queries for each source, and writes nothing.
    """
    faulty = {fault.source for fault in static_faults() if fault.is_error}
    faults: list[Fault] = []
    for path in running.source_paths():
        _found, source = running.load(path)
        if source is not None and path not in faulty:
            faults += running.run(path, source, [(check_id, what, isolated(trial)) for check_id, what, trial in LIVE])
    return [*faults, *left_over()]


def is_unmigrated() -> bool:
    """Whether migrations wait to be applied to the database of events. Live trials would fail before `migrate`."""
    executor = MigrationExecutor(connections[router.db_for_write(Event)])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def log_faults() -> None:
    """Log each static fault, because system checks do not run under a WSGI or ASGI server. Raises nothing."""
    for fault in static_faults():
        level = logging.ERROR if fault.is_error else logging.WARNING
        logger.log(level, "%s %s", fault.text, fault.remedy, source=fault.source, check=fault.check_id)
