"""Checks of the databases. They run with `check --database default`, with `migrate`, and in the doctor."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning
from django.db import connections, router

from orderhooks import reporting, source_trials
from orderhooks.models import Event, Subscription


def check_database(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """SQLite must take the write lock when a transaction begins. Otherwise a save that reads first may be refused.

    A database must return the keys of rows that are inserted together: events and deliveries refer to each other.
    """
    messages: list[CheckMessage] = []
    for alias in databases or ():
        is_ours = alias == router.db_for_write(Subscription)
        if is_ours and not connections[alias].features.can_return_rows_from_bulk_insert:
            messages.append(
                Error(
                    f"The database {alias!r} ({connections[alias].display_name}) returns no keys of rows that are "
                    "inserted together, which orderhooks needs.",
                    hint="Use PostgreSQL, MariaDB 10.6 or newer, or SQLite 3.35 or newer.",
                    id="orderhooks.E078",
                )
            )
        options = connections[alias].settings_dict.get("OPTIONS", {})
        if connections[alias].vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
            messages.append(
                Warning(
                    f"The SQLite database {alias!r} begins its transactions without the write lock. While a "
                    "worker runs, saves may fail with 'database is locked'.",
                    hint="Set DATABASES[…]['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', 'timeout': 20}.",
                    id="orderhooks.W030",
                )
            )
    return messages


def check_versions(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """Subscriptions must be pinned to registered versions of the body. Nothing is looked up before `migrate`."""
    if router.db_for_write(Subscription) not in (databases or ()) or source_trials.is_unmigrated():
        return []
    return [
        Warning(text, hint="`manage.py orderhooks_doctor` shows all that needs a person.", id="orderhooks.W027")
        for text in reporting.unregistered_versions()
    ]


def check_tables(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """Say so if the tables are not there yet. No warning: a project runs `check` before its first `migrate`."""
    using = router.db_for_write(Event)
    if using not in (databases or ()) or Event._meta.db_table in connections[using].introspection.table_names():
        return []
    return [
        Info(
            f"The database {using!r} has no tables of orderhooks yet, so no change of an order is captured.",
            hint=f"Run `manage.py migrate --database {using}`.",
            id="orderhooks.I031",
        )
    ]
