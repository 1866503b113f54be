"""Checks of the databases. They run with `check --database default`, with `migrate`, and in the doctor."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db import connections


def check_database(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """SQLite must take the write lock when a transaction begins. Otherwise a save that reads first may be refused."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
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
