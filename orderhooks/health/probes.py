"""Probes: whether this process answers, whether it can serve requests, and whether a worker is there.

# Note [What a probe may decide]
`live` decides whether a process is started anew, so it asks nothing else: a database that is gone is not cured by a
restart. `ready` decides whether a web process gets requests: it needs the database and its tables. A worker or a broker
that is gone is shown and decides nothing there: orders are saved and their events wait in the database, and a shop
that is taken offline would lose the orders. `worker` is for an alarm.

What is shown is a word for each, because anybody may call them: no count, no name, no text of an error.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from orderhooks import tasks
from orderhooks.db import DatabaseClock
from orderhooks.db.primary import own_database
from orderhooks.health.looks import Look

__all__ = ["BROKER", "DATABASE", "DatabaseState", "for_programs", "live", "ready", "worker"]

View = Callable[[HttpRequest], HttpResponse]

OK = "ok"
MISSING = "missing"
UNREACHABLE = "unreachable"
UNKNOWN = "unknown"

OUR_APP = "orderhooks"


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a look at the database found: whether our migrations are applied, and a word about the worker."""

    is_migrated: bool
    worker: str


def for_programs(view: View) -> View:
    """A view without a login, for GET and HEAD alone, outside any transaction.

    ATOMIC_REQUESTS would need a database for each request.
    """
    view = login_not_required(require_safe(view))
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@for_programs
def live(request: HttpRequest) -> HttpResponse:
    """200: this process answers. Uses no database."""
    return _response({}, is_ok=True)


@for_programs
def ready(request: HttpRequest) -> HttpResponse:
    """200 if the database answers in time and has our tables, otherwise 503. Also shows worker and broker.

    See Note [What a probe may decide].
    """
    state = DATABASE.found()
    words = {
        "database": UNREACHABLE if state is None else OK,
        "migrations": UNKNOWN if state is None else (OK if state.is_migrated else MISSING),
        "worker": UNKNOWN if state is None else state.worker,
        "broker": OK if BROKER.found() else UNREACHABLE,
    }
    return _response(words, is_ok=state is not None and state.is_migrated)


@for_programs
def worker(request: HttpRequest) -> HttpResponse:
    """200 if a worker was seen lately and the sweep is in time, otherwise 503."""
    state = DATABASE.found()
    word = UNKNOWN if state is None else state.worker
    return _response({"worker": word}, is_ok=word == OK)


def _response(words: dict[str, str], *, is_ok: bool) -> HttpResponse:
    body = {"status": OK if is_ok else "failed", **words}
    response = JsonResponse(body, status=200 if is_ok else 503, headers={"cache-control": "no-store"})
    # Otherwise Django logs each 503 as an error, and mails it to ADMINS: one for each look of a probe.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def look_at_database() -> DatabaseState:
    """Six short queries. Raises what the database raises."""
    is_migrated = _is_migrated()
    return DatabaseState(is_migrated, _look_at_worker() if is_migrated else UNKNOWN)


def _is_migrated() -> bool:
    connection = connections[own_database()]
    connection.ensure_connection()
    recorder = MigrationRecorder(connection)
    try:
        applied = set(recorder.migration_qs.filter(app=OUR_APP).values_list("name", flat=True))
    except DatabaseError:
        if recorder.has_table():
            raise
        applied = set()
    return _shipped_migrations() <= applied


def _shipped_migrations() -> set[str]:
    """Their names, without those of other apps, which `MigrationLoader` would import all."""
    path, _is_ours = MigrationLoader.migrations_module(OUR_APP)
    if path is None:
        return set()
    names = (name for _finder, name, is_package in pkgutil.iter_modules(import_module(path).__path__) if not is_package)
    return {name for name in names if name[0] not in "_~"}


def _look_at_worker() -> str:
    try:
        found, now = tasks.look_at_worker(), DatabaseClock().now()
    except DatabaseError:
        # The queue's own tables are missing, or in a database that is gone.
        return UNKNOWN
    return MISSING if found.is_missing(now=now) or found.sweep_is_late(now=now) else OK


# Kubernetes waits one second for a probe unless `timeoutSeconds` says otherwise; a database that is slower than this
# serves no shop.
DATABASE = Look("database", look_at_database, wait_seconds=2.0, fresh_seconds=1.0)
# Only shown, so a probe hardly waits for it.
BROKER = Look("broker", lambda: not tasks.broker_problem(), wait_seconds=0.5, fresh_seconds=15.0)
