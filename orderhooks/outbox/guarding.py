"""Guarding: whatever goes wrong while a change is captured, the store's `save()` or `delete()` goes on.

`signal_handlers` runs each capture inside `guarded`. What could not be captured is logged in one line and marked, once
its transaction has committed, by `CaptureFailure`, which status and doctor show.

# Note [The store's transaction survives]
PostgreSQL refuses every further statement in a transaction in which one has failed, so a statement of ours that may
fail stands in a savepoint. Only the first statement of a kind in a transaction needs one: once it has succeeded, the
transaction holds a lock on the tables that it used, and nobody can drop or alter them before the transaction ends. So
bulk saves cost no further savepoints.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connections, models, router, transaction

from orderhooks import logs, sources
from orderhooks.db.locks import is_lock_timeout
from orderhooks.db.savepoints import Savepoint
from orderhooks.models import CaptureFailure, Change
from orderhooks.sources import WatchedModel

logger = logs.get_logger(__name__)

__all__ = [
    "can_capture",
    "describe_error",
    "guarded",
    "is_transaction_lost",
    "mark_missed",
    "mark_missed_rows",
    "survivable",
]

PROVED = "_orderhooks_proved"
MIGRATE = "If a table or column is missing, run `manage.py migrate`."
LOCKED = "Another transaction kept the row locked for longer than the database's limit: look for one that stays open."


def guarded(instance: models.Model, *, using: str, capture: Callable[[WatchedModel], None]) -> None:
    """Call `capture(watched_model)` for each watched model of an instance. An error is logged and counted, not raised.

    The error is raised only if the database has given up the store's transaction (a lost connection, a time limit, a
    deadlock). Otherwise Django would roll the transaction back silently, and the store would take it for saved.
    """
    if connections[using].needs_rollback:
        return  # the store's own statement failed before: nothing of this transaction will be committed
    try:
        watched_models = sources.watched_models(instance)
    except Exception as error:
        mark_missed(None, instance, _with_remedy(error), using=using, error=error)
        return
    for watched_model in watched_models:
        try:
            capture(watched_model)
        except Exception as error:
            if is_transaction_lost(error, using):
                raise
            mark_missed(watched_model, instance, _with_remedy(error), using=using, error=error)


def is_transaction_lost(error: Exception, using: str) -> bool:
    """Whether the database has given up the running transaction, so that nothing of it will be committed."""
    connection = connections[using]
    if not connection.in_atomic_block:
        return False
    raw: Any = connection.connection
    if raw is None or connection.closed_in_transaction:
        return True
    match connection.vendor:
        case "postgresql":
            # Of psycopg 3, or 2; libpq's 3 and 4 are "in a transaction that failed" and "the connection is bad".
            status = raw.info.transaction_status if hasattr(raw, "info") else raw.get_transaction_status()
            return status in (3, 4)
        case "sqlite":
            return not raw.in_transaction
        case _:
            # MySQL ends the transaction of a deadlock's victim, and of a connection that is gone.
            return bool(error.args) and error.args[0] in (1213, 2006, 2013)


def describe_error(error: Exception) -> str:
    """What went wrong, with the class of the error, for the event's page."""
    return _storable(f"{type(error).__name__}: {error}")[:2000]


def _storable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode().replace("\x00", "")


def _with_remedy(error: Exception) -> str:
    """What went wrong in a line, with the remedy where it is known."""
    text = _storable(f"{type(error).__name__}: {error}").replace("\n", " ")
    if not isinstance(error, DatabaseError):
        return text[:2000]
    return f"{text[:1800]} {LOCKED if is_lock_timeout(error) else MIGRATE}"


def mark_missed(
    watched_model: WatchedModel | None, instance: models.Model, text: str, *, using: str, error: Exception | None = None
) -> None:
    """Log in one line, and count, that a change of this instance could not be captured. Never raises."""
    source = watched_model.source.name if watched_model else ""
    key = _key_of(watched_model, instance)
    # The traceback shows whose code failed. An error of the database needs none: its text says enough.
    trace = error if error is not None and not isinstance(error, DatabaseError) else None
    logger.error(
        "a change was not captured: %s", text, model=instance._meta.label, source=source, order=key, exc_info=trace
    )
    CaptureFailure.objects.record(source=source, order_pk=key, error=text, using=using)


def mark_missed_rows(
    watched_model: WatchedModel, model: type[models.Model], text: str, *, using: str, error: Exception | None = None
) -> None:
    """The same for changes of several rows of a model."""
    trace = error if error is not None and not isinstance(error, DatabaseError) else None
    logger.error("changes of rows were not captured: %s", text, model=model._meta.label, exc_info=trace)
    CaptureFailure.objects.record(source=watched_model.source.name, order_pk="", error=text, using=using)


def _key_of(watched_model: WatchedModel | None, instance: models.Model) -> str:
    """The order's key as far as the instance holds it. A database that has just failed is not queried."""
    try:
        if watched_model is None or watched_model.related is None:
            return str(instance.pk)
        names = watched_model.identifying_columns if watched_model.is_direct else ()
        return ", ".join(str(getattr(instance, name)) for name in names)
    except Exception:
        return ""


def can_capture(using: str) -> bool:
    """Whether a transaction of this database can hold captured changes: orderhooks keeps its tables in it."""
    home = router.db_for_write(Change)
    return using == home or _place(using) == _place(home)


def _place(alias: str) -> tuple[str, ...]:
    settings = connections[alias].settings_dict
    name = str(settings.get("NAME"))
    # Each connection to a database in memory has a database of its own.
    return (alias,) if name == ":memory:" else (*(str(settings.get(key)) for key in ("ENGINE", "HOST", "PORT")), name)


@contextmanager
def survivable(using: str, *kind: Hashable) -> Iterator[None]:
    """Run statements of one kind so that their failure leaves the store's transaction usable.

    See Note [The store's transaction survives].
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        yield
        return
    if connection.vendor == "postgresql" and kind not in _proved(using):
        # By hand, because Django would release it, one more round trip, and it ends with the transaction anyway.
        savepoint = Savepoint(connection, "orderhooks", at_once=True)
        try:
            with connection.execute_wrapper(savepoint):
                yield
        except BaseException:
            transaction.set_rollback(False, using=using)
            savepoint.roll_back()
            raise
        # A block that needed no statement has proved nothing.
        if savepoint.is_set:
            _proved(using).add(kind)
        return
    try:
        yield
    except BaseException:
        if connection.vendor != "postgresql":
            # Django marks the transaction as one to be rolled back if a save of a model of ours fails in it.
            transaction.set_rollback(False, using=using)
        raise


def _proved(using: str) -> set[Hashable]:
    """The kinds of statements that have succeeded in the running transaction.

    Django starts a new list of on-commit hooks after each commit and each rollback, also to a savepoint. So the kinds
    are kept together with the list during which they succeeded.
    """
    connection = connections[using]
    kinds: set[Hashable]
    hooks, kinds = connection.__dict__.get(PROVED, (None, set()))
    if hooks is not connection.run_on_commit:
        kinds = set()
        connection.__dict__[PROVED] = connection.run_on_commit, kinds
    return kinds
