"""System checks: what is wrong with the settings, with an id and a hint, before it costs an event."""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning
from django.core.checks import register as register_check
from django.db import connections
from django.utils.module_loading import import_string

from orderhooks import conf, tasks, topics
from orderhooks.sources import OrderSource

MIN_KEY_LENGTH = 16
RATE = re.compile(r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)")


def register() -> None:
    """Called once, by `apps`."""
    register_check(check_settings, Tags.compatibility)
    register_check(check_queue, Tags.compatibility)
    register_check(check_database, Tags.database)


def _number(low: float, high: float, unit: str) -> Callable[[Any], str]:
    def judge(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return f"Give a number of {unit} from {low:g} to {high:g}."
        return ""

    return judge


def _whole_number(low: int, high: int) -> Callable[[Any], str]:
    def judge(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return f"Give a whole number from {low} to {high}."
        return ""

    return judge


def _boolean(value: Any) -> str:
    return "" if isinstance(value, bool) else "Give True or False."


def _sources(value: Any) -> str:
    if not isinstance(value, list | tuple) or not value:
        return "Give a list of dotted paths of OrderSource classes; the built-in is 'orderhooks.sources.BuiltInOrders'."
    for path in value:
        try:
            source = import_string(path)
        except (ImportError, TypeError) as error:
            return f"{path!r} can't be imported ({error}). Give dotted paths of OrderSource classes."
        if not (isinstance(source, type) and issubclass(source, OrderSource)):
            return f"{path!r} is no OrderSource class; derive it from orderhooks.sources.OrderSource."
        problem = _source(source())
        if problem:
            return f"{path!r}: {problem}"
    return ""


def _source(source: OrderSource) -> str:
    try:
        models = [(source.get_model(), (*source.watched, *source.transitions))]
        if source.lines:
            models.append((source.lines.get_model(), (*source.lines.watched, source.lines.order_field)))
    except (LookupError, ValueError, AttributeError) as error:
        return f"its model can't be found ({error}). Set `model` to 'app_label.Model' of an installed app."
    for model, names in models:
        columns = {field.name for field in model._meta.concrete_fields}
        unknown = [name for name in names if name not in columns]
        if unknown:
            return f"{model._meta.label} has no column {unknown[0]!r}. Name concrete fields of the model."
    known = topics.catalogue()
    for by_value in source.transitions.values():
        for topic in by_value.values():
            if topic not in known:
                return f"the topic {topic!r} is not in the catalogue. Add it to ORDERHOOKS['TOPICS']."
    return ""


def _topics(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "Give a dict: {'order.gift_wrapped': 'What it means, in a sentence.'}."
    for name, description in value.items():
        if not isinstance(name, str) or not topics.NAME.match(name):
            return f"{name!r} is no topic. Use lower-case words joined by dots, such as 'order.gift_wrapped'."
        if not isinstance(description, str) or not description:
            return f"Describe {name!r} in a sentence; people choose topics by it."
    return ""


def _schedule(value: Any) -> str:
    judge = _number(0, 7 * 24 * 3600, "seconds")
    if not isinstance(value, list | tuple) or any(judge(wait) for wait in value):
        return "Give a list of seconds, one for each attempt after the first; an empty list means no second attempt."
    return ""


def _networks(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return "Give a list of networks in CIDR notation, such as ['10.20.0.0/16']."
    for text in value:
        try:
            ip_network(text if isinstance(text, str) else "")
        except ValueError:
            return f"{text!r} is no network. Write it in CIDR notation with no bits behind the mask: '10.20.0.0/16'."
    return ""


def _proxy(value: Any) -> str:
    if isinstance(value, str) and (not value or re.fullmatch(r"https?://[^\s/]+/?", value)):
        return ""
    return "Give the proxy's URL, such as 'http://proxy.example.com:3128', or '' for none."


def _file(value: Any) -> str:
    return "" if value == "" or (isinstance(value, str) and os.path.isfile(value)) else "Give the path of a PEM file."


def _keys(value: Any) -> str:
    if not isinstance(value, list | tuple) or any(
        not isinstance(key, str) or len(key) < MIN_KEY_LENGTH for key in value
    ):
        return f"Give a list of texts of at least {MIN_KEY_LENGTH} characters, the newest first."
    return ""


def _stores_for_user(value: Any) -> str:
    if value == "":
        return ""
    try:
        function = import_string(value)
    except (ImportError, TypeError, AttributeError) as error:
        return f"It can't be imported ({error}). Give the dotted path of a function of a user: 'shop.access.stores_of'."
    return "" if callable(function) else "It is no function. Give the path of one that takes a user and returns stores."


def _rates(value: Any) -> str:
    if not isinstance(value, Mapping) or any(
        name not in conf.API_RATES or not (rate is None or (isinstance(rate, str) and RATE.fullmatch(rate)))
        for name, rate in value.items()
    ):
        return f"Give a dict such as {{'test': '30/min', 'replay': None}} with some of: {', '.join(conf.API_RATES)}."
    return ""


# One row for each setting: the id of its check and the judge, which returns what to do, or "" if all is well.
JUDGES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "SOURCES": ("orderhooks.E002", _sources),
    "TOPICS": ("orderhooks.E003", _topics),
    "REQUIRE_HTTPS": ("orderhooks.E004", _boolean),
    "ALLOWED_NETWORKS": ("orderhooks.E012", _networks),
    "EGRESS_PROXY": ("orderhooks.E013", _proxy),
    "CA_BUNDLE": ("orderhooks.E014", _file),
    "TIMEOUT_SECONDS": ("orderhooks.E005", _number(0.1, 300, "seconds")),
    "RETRY_SCHEDULE": ("orderhooks.E006", _schedule),
    "DISABLE_AFTER_DAYS": ("orderhooks.E007", _number(0.01, 365, "days")),
    "WORKER_THREADS": ("orderhooks.E008", _whole_number(1, 256)),
    "MAX_IN_FLIGHT": ("orderhooks.E015", _whole_number(1, 256)),
    "MAX_IN_FLIGHT_PER_HOST": ("orderhooks.E016", _whole_number(1, 256)),
    "LINGER_SECONDS": ("orderhooks.E009", _number(0, 60, "seconds")),
    "SWEEP": ("orderhooks.E010", _boolean),
    "RETENTION_DAYS": ("orderhooks.E017", _number(1, 36500, "days")),
    "STORES_FOR_USER": ("orderhooks.E018", _stores_for_user),
    "API_RATES": ("orderhooks.E019", _rates),
    "ENCRYPTION_KEYS": ("orderhooks.E011", _keys),
}


def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Every key of ORDERHOOKS is known and its value makes sense."""
    given = conf.raw()
    if not isinstance(given, Mapping):
        return [Error("ORDERHOOKS is no dict.", hint="Write ORDERHOOKS = {…} in the settings.", id="orderhooks.E001")]
    return [*_unknown_keys(given), *_bad_values(given)]


def _unknown_keys(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key in given:
        if key not in conf.KEYS:
            near = difflib.get_close_matches(str(key).upper(), conf.KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The settings are: {', '.join(sorted(conf.KEYS))}."
            yield Error(f"ORDERHOOKS has an unknown key {key!r}.", hint=hint, id="orderhooks.E001")


def _bad_values(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key, (check_id, judge) in JUDGES.items():
        if key in given and (hint := judge(given[key])):
            yield Error(f"ORDERHOOKS[{key!r}] can't be {given[key]!r}.", hint=hint, id=check_id)


def check_queue(**_kwargs: Any) -> list[CheckMessage]:
    """django-q2's settings fit tasks that last as long as ours."""
    cluster = getattr(settings, "Q_CLUSTER", None)
    if not isinstance(cluster, Mapping):
        return [
            Error(
                "Q_CLUSTER is not set: no worker would deliver anything.",
                hint="Q_CLUSTER = {'name': 'shop', 'orm': 'default', 'timeout': 60, 'retry': 90, 'save_limit': -1, "
                "'catch_up': False}",
                id="orderhooks.E020",
            )
        ]
    messages: list[CheckMessage] = []
    if check_settings():
        return messages  # told already; what follows reckons with them
    timeout, retry = cluster.get("timeout"), cluster.get("retry", 60)
    needed = conf.current().timeout_seconds + tasks.HAND_OVER_SECONDS * 2
    if not timeout or timeout < needed:
        messages.append(
            Warning(
                f"Q_CLUSTER['timeout'] is {timeout!r}: a worker might be stopped in the middle of an attempt.",
                hint=f"Set it to {needed:g} seconds or more; 60 is a good value.",
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
