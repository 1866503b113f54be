"""System checks: what is wrong with settings and order sources, with an id and a hint, before it costs an event."""

from django.core.checks import Tags
from django.core.checks import register as register_check

from orderhooks.checks.database import check_database
from orderhooks.checks.deployment import check_deployment
from orderhooks.checks.queue import check_queue
from orderhooks.checks.settings import JUDGES, check_settings
from orderhooks.checks.sources import check_sources, check_sources_at_work

__all__ = [
    "JUDGES",
    "check_database",
    "check_deployment",
    "check_queue",
    "check_settings",
    "check_sources",
    "check_sources_at_work",
    "register",
]


def register() -> None:
    """Called once, by `apps`."""
    register_check(check_settings, Tags.compatibility)
    register_check(check_sources, Tags.compatibility)
    register_check(check_queue, Tags.compatibility)
    register_check(check_database, Tags.database)
    register_check(check_sources_at_work, Tags.database)
    register_check(check_deployment, Tags.security, deploy=True)
