"""System checks of settings and order sources, each with an id and a hint. `apps` registers them."""

from django.core.checks import Tags
from django.core.checks import register as register_check

from orderhooks.checks.database import check_database, check_tables, check_versions
from orderhooks.checks.deployment import check_deployment
from orderhooks.checks.project import (
    check_mail,
    check_one_database,
    check_time_zone,
    check_users,
)
from orderhooks.checks.queue import check_queue
from orderhooks.checks.settings import JUDGES, check_settings
from orderhooks.checks.sources import check_sources, check_sources_at_work

__all__ = [
    "JUDGES",
    "check_database",
    "check_deployment",
    "check_mail",
    "check_one_database",
    "check_queue",
    "check_settings",
    "check_sources",
    "check_sources_at_work",
    "check_tables",
    "check_time_zone",
    "check_users",
    "check_versions",
    "register",
]


def register() -> None:
    """Register the checks with Django. Called once, by `apps`."""
    checks_of_settings = (
        check_settings,
        check_sources,
        check_queue,
        check_one_database,
        check_users,
        check_time_zone,
        check_mail,
    )
    for check in checks_of_settings:
        register_check(check, Tags.compatibility)
    for check in (check_database, check_tables, check_sources_at_work, check_versions):
        register_check(check, Tags.database)
    register_check(check_deployment, Tags.security, deploy=True)
