"""Checks of the queue: it is set up, and its time limits fit the tasks of orderhooks."""

from collections.abc import Mapping
from typing import Any

from django.core.checks import CheckMessage

from orderhooks import conf, tasks
from orderhooks.checks.settings import check_settings


def check_queue(**_kwargs: Any) -> list[CheckMessage]:
    """The queue must be set up, and its time limits must fit the tasks of orderhooks."""
    if isinstance(conf.raw(), Mapping) and not conf.current().sources:
        return []  # a project that only receives
    if check_settings():
        return []  # it reports the errors; the checks of a queue read these settings
    return list(tasks.check())
