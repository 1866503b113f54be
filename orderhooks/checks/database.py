"""The database: what is read with it at hand, by `check --database default`, `migrate` and the doctor."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db import connections


def check_database(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """SQLite takes the write lock when a transaction begins: a save that reads first is not turned away."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        options = connections[alias].settings_dict.get("OPTIONS", {})
        if connections[alias].vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
            messages.append(
                Warning(
                    f"The SQLite database {alias!r} begins its transactions without the write lock: with a worker "
                    "beside the web server, saves may fail with 'database is locked'.",
                    hint="Set DATABASES[…]['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', 'timeout': 20}.",
                    id="orderhooks.W030",
                )
            )
    return messages
