"""The queue: django-q2's settings fit tasks that last as long as ours."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from orderhooks import conf, tasks
from orderhooks.checks.settings import check_settings

# Both: raising one alone would leave the other behind.
GOOD_TIMES = "Good values are 'timeout': 60 and 'retry': 90 ('retry' must be above 'timeout')."


def check_queue(**_kwargs: Any) -> list[CheckMessage]:
    """django-q2's settings fit tasks that last as long as ours."""
    cluster = getattr(settings, "Q_CLUSTER", None)
    if not isinstance(cluster, Mapping):
        return [
            Error(
                "Q_CLUSTER is not set: no worker would deliver anything.",
                hint="Q_CLUSTER = {'name': 'shop', 'orm': 'default', 'timeout': 60, 'retry': 90, 'save_limit': -1}",
                id="orderhooks.E020",
            )
        ]
    messages: list[CheckMessage] = []
    if check_settings():
        return messages  # told already; what follows reckons with them
    timeout, retry = cluster.get("timeout"), cluster.get("retry", 60)
    needed = conf.current().timeout_seconds + tasks.HAND_OVER_SECONDS * 2
    if not timeout:
        messages.append(
            Warning(
                "Q_CLUSTER['timeout'] is not set: a worker that hangs would never be stopped.",
                hint=GOOD_TIMES,
                id="orderhooks.W021",
            )
        )
    elif timeout < needed:
        messages.append(
            Warning(
                f"Q_CLUSTER['timeout'] is {timeout!r}: a worker might be stopped in the middle of an attempt, which "
                f"may take {conf.current().timeout_seconds:g} s (TIMEOUT_SECONDS).",
                hint=f"Set it to {needed:g} seconds or more. {GOOD_TIMES}",
                id="orderhooks.W021",
            )
        )
    elif retry <= timeout:
        messages.append(
            Warning(
                f"Q_CLUSTER['retry'] ({retry!r}) is not above its 'timeout' ({timeout!r}): tasks would run twice.",
                hint=f"Set 'retry' to {timeout + 30} or more.",
                id="orderhooks.W022",
            )
        )
    return messages
