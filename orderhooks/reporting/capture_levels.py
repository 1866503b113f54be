"""Capture levels: how the changes of each order source are captured, and whether its triggers are in place."""

from dataclasses import dataclass
from typing import Any

from django.db import connections, router
from django.utils.translation import gettext as _

from orderhooks import logs, sources, triggers
from orderhooks.models import Change

__all__ = ["CaptureLevel", "capture_levels"]

logger = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureLevel:
    """A sentence about a source, and whether its changes are captured as it says."""

    text: str
    is_right: bool


def capture_levels() -> list[CaptureLevel]:
    """One for each order source, by three queries on PostgreSQL. Empty if a source can't be loaded."""
    using = router.db_for_write(Change)
    try:
        known = sources.configured().values()
        found = triggers.differences_by_source(using) if connections[using].vendor == "postgresql" else {}
    except Exception:
        # The checks name what is wrong with the setting.
        logger.exception("the order sources can't be loaded")
        return []
    return [_level(source, found.get(source.name, []), using) for source in known]


def _level(source: Any, missing: list[str], using: str) -> CaptureLevel:
    names = {"source": source.name, "model": source.model}
    if not triggers.are_used(source, using) and missing:
        text = _(
            "Changes of %(model)s (source %(source)s) are captured by signals, but triggers are still there, so events "
            "may be made twice: run manage.py migrate. %(first)s"
        )
        return CaptureLevel(text % {**names, "first": missing[0]}, False)
    if not triggers.are_used(source, using):
        text = _("Changes of %(model)s (source %(source)s) are captured by signals.")
        return CaptureLevel(text % names, source.capture == "signals")
    if missing:
        text = _(
            "Changes of %(model)s (source %(source)s) should be captured by triggers, but these differ: run "
            "manage.py migrate. %(first)s"
        )
        return CaptureLevel(text % {**names, "first": missing[0]}, False)
    return CaptureLevel(_("Changes of %(model)s (source %(source)s) are captured by triggers.") % names, True)
