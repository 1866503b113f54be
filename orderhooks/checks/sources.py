"""The order sources: each is tried before it is trusted. See `source_trials`."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import router

from orderhooks import source_trials
from orderhooks.models import Event
from orderhooks.source_trials import Fault


def check_sources(**_kwargs: Any) -> list[CheckMessage]:
    """What is wrong with the sources as they are written. Without a database."""
    return _messages(source_trials.static_faults())


def check_sources_at_work(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """What goes wrong when the sources read the newest orders. With `check --database default`.

    Silent before `migrate`: it runs these checks too, and there is nothing to read yet.
    """
    if router.db_for_write(Event) not in (databases or ()) or source_trials.is_unmigrated():
        return []
    return _messages(source_trials.live_faults())


def _messages(faults: Iterable[Fault]) -> list[CheckMessage]:
    return [
        (Error if fault.check_id.startswith("E") else Warning)(
            f"The order source {fault.source!r} can't be used as it is. {fault.text}",
            hint=fault.remedy,
            id=f"orderhooks.{fault.check_id}",
        )
        for fault in faults
    ]
