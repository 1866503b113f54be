"""Checks of the order sources: each is tried before it is used. See `source_trials`."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import router

from orderhooks import source_trials
from orderhooks.models import Event
from orderhooks.source_trials import Fault


def check_sources(**_kwargs: Any) -> list[CheckMessage]:
    """The faults of the sources that show without a database."""
    return _messages(source_trials.static_faults())


def check_sources_at_work(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """The faults of the sources that show when they read their newest orders. For `check --database default`.

    None before `migrate`, which runs these checks too, because there is nothing to read yet.
    """
    if router.db_for_write(Event) not in (databases or ()) or source_trials.is_unmigrated():
        return []
    return _messages(source_trials.live_faults())


def _messages(faults: Iterable[Fault]) -> list[CheckMessage]:
    return [
        (Error if fault.is_error else Warning)(_text(fault), hint=fault.remedy, id=f"orderhooks.{fault.check_id}")
        for fault in faults
    ]


def _text(fault: Fault) -> str:
    if not fault.source:
        return fault.text
    if fault.is_error:
        return f"The order source {fault.source!r} can't be used as it is. {fault.text}"
    return f"The order source {fault.source!r} has a fault. {fault.text}"
