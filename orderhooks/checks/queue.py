"""Checks of the queue: django-q2 is installed, and its time limits fit the tasks of orderhooks."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from orderhooks import conf, tasks
from orderhooks.checks.settings import check_settings

# Both in one hint, because 'retry' must stay above 'timeout'.
GOOD_TIMES = "Good values are 'timeout': 60 and 'retry': 90 ('retry' must be above 'timeout')."


EXAMPLE = (
    "Q_CLUSTER = {'name': 'shop', 'orm': 'default', 'timeout': 60, 'retry': 90, 'save_limit': -1, 'catch_up': False}"
)

# The packages that django-q2's brokers need, by the key of Q_CLUSTER that chooses the broker.
BROKER_PACKAGES = {"redis": "redis", "sqs": "boto3", "mongo": "pymongo", "iron_mq": "iron_mq", "disque_nodes": "redis"}


def _not_installed(cluster: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if not apps.is_installed("django_q"):
        yield Error(
            "'django_q' is not in INSTALLED_APPS: there would be no `manage.py qcluster`, and no table of its tasks.",
            hint="Add 'django_q' to INSTALLED_APPS, then run `manage.py migrate`.",
            id="orderhooks.E023",
        )
    for key, package in BROKER_PACKAGES.items():
        if cluster.get(key) and find_spec(package) is None:
            yield Error(
                f"Q_CLUSTER[{key!r}] needs the package {package!r}, which is not installed: no worker could be woken.",
                hint=f"pip install {package}; or use the database as the broker: 'orm': 'default'.",
                id="orderhooks.E024",
            )


def check_queue(**_kwargs: Any) -> list[CheckMessage]:
    """django-q2 must be set up, and its time limits must fit the tasks of orderhooks."""
    cluster = getattr(settings, "Q_CLUSTER", None)
    if isinstance(conf.raw(), Mapping) and not conf.current().sources:
        return []  # a project that only receives
    if cluster is None and not apps.is_installed("django_q"):
        return [
            Warning(
                "No queue is set up: this project can receive webhooks, but sends none.",
                hint="If it only receives, set ORDERHOOKS['SOURCES'] = []. If it sends, "
                f"add 'django_q' to INSTALLED_APPS and set {EXAMPLE}.",
                id="orderhooks.W025",
            )
        ]
    if not isinstance(cluster, Mapping):
        return [
            Error(
                "Q_CLUSTER is not set: no worker would deliver anything.",
                hint=EXAMPLE + ("" if apps.is_installed("django_q") else "; and add 'django_q' to INSTALLED_APPS."),
                id="orderhooks.E020",
            )
        ]
    messages: list[CheckMessage] = [*_not_installed(cluster)]
    if check_settings():
        return messages  # check_settings reports the errors; the checks below read these settings
    timeout, retry = cluster.get("timeout"), cluster.get("retry", 60)
    needed = conf.current().timeout_seconds + tasks.HAND_OVER_SECONDS * 2
    if not timeout:
        messages.append(
            Warning(
                "Q_CLUSTER['timeout'] is not set: a worker that hangs is never stopped.",
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
