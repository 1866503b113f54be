"""Checks of the keys of ORDERHOOKS: a judge for each, with the id of its check. No secret is ever printed."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from ipaddress import ip_network
from typing import Any

from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from orderhooks import conf, formats, retention_periods, spelling, tasks, topics, versions

MIN_KEY_LENGTH = 16
LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*", re.IGNORECASE)
RATE = re.compile(r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)")


def _number(low: float, high: float, unit: str) -> Callable[[Any], str]:
    def judge(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return f"Give a number of {unit} from {low:g} to {high:g}."
        return ""

    return judge


def _reconcile_days(value: Any) -> str:
    judge = _number(0.01, 36500, "days")
    return "" if value is None or not judge(value) else "Give a number of days from 0.01 to 36500, or None for never."


def _whole_number(low: int, high: int) -> Callable[[Any], str]:
    def judge(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return f"Give a whole number from {low} to {high}."
        return ""

    return judge


def _boolean(value: Any) -> str:
    return "" if isinstance(value, bool) else "Give True or False."


def _sources(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return (
            "Give a list of dotted paths of OrderSource classes; the built-in is 'orderhooks.sources.BuiltInOrders'. "
            "An empty list is for a project that only receives."
        )
    if any(not isinstance(path, str) for path in value):
        return "Give dotted paths as texts, such as 'shop.webhooks.Orders'."
    return ""


def _schedule(value: Any) -> str:
    judge = _number(0, 7 * 24 * 3600, "seconds")
    if not isinstance(value, list | tuple) or any(judge(wait) for wait in value):
        return "Give a list of seconds, one for each attempt after the first; an empty list means one attempt only."
    return ""


def _networks(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return "Give a list of networks in CIDR notation, such as ['10.20.0.0/16']."
    for text in value:
        try:
            ip_network(text if isinstance(text, str) else "")
        except ValueError:
            return f"{text!r} is not a network. Write it in CIDR notation with no bits behind the mask: '10.20.0.0/16'."
    return ""


def _proxy(value: Any) -> str:
    if isinstance(value, str) and (not value or re.fullmatch(r"https?://[^\s/]+/?", value)):
        return ""
    return "Give the proxy's URL, such as 'http://proxy.example.com:3128', or '' for none."


def _base_url(value: Any) -> str:
    if isinstance(value, str) and (not value or re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*[^\s?#/])?", value)):
        return ""
    return "Give the store's URL without a slash at the end, such as 'https://shop.example.com', or '' for none."


def _request_origin(value: Any) -> str:
    if isinstance(value, str) and (not value or DNS_NAME.fullmatch(value)):
        return ""
    return "Give a DNS name, such as 'shop.example.com', or '' for that of BASE_URL."


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
    return (
        "" if callable(function) else "It is not a function. Give the path of one that takes a user and returns stores."
    )


def _rates(value: Any) -> str:
    if not isinstance(value, Mapping) or any(
        name not in conf.API_RATES or not (rate is None or (isinstance(rate, str) and RATE.fullmatch(rate)))
        for name, rate in value.items()
    ):
        return f"Give a dict such as {{'test': '30/min', 'replay': None}} with some of: {', '.join(conf.API_RATES)}."
    return ""


def _token(value: Any) -> str:
    if isinstance(value, str) and (not value or re.fullmatch(rf"[\x21-\x7e]{{{MIN_KEY_LENGTH},}}", value)):
        return ""
    return (
        f"Give a text of at least {MIN_KEY_LENGTH} letters, digits and signs without blanks, or '' for none; "
        "`python -c 'import secrets; print(secrets.token_urlsafe())'` prints one."
    )


def _queue(value: Any) -> str:
    if isinstance(value, str) and value in tasks.QUEUES:
        return ""
    near = spelling.nearest(str(value), tasks.QUEUES)
    known = ", ".join(map(repr, tasks.QUEUES))
    return f"Did you mean {near!r}? The queues are: {known}." if near else f"The queues are: {known}."


# One row for each setting: the id of its check, and its judge, which returns the hint, or "" if the value is valid.
JUDGES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "SOURCES": ("orderhooks.E002", _sources),
    "TOPICS": ("orderhooks.E003", topics.fault_of),
    "FORMATS": ("orderhooks.E070", formats.fault_of),
    "BASE_URL": ("orderhooks.E071", _base_url),
    "REQUEST_ORIGIN": ("orderhooks.E072", _request_origin),
    "API_VERSIONS": ("orderhooks.E026", versions.fault_of),
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
    "COALESCE_IN_WORKER": ("orderhooks.E077", _boolean),
    "QUEUE": ("orderhooks.E028", _queue),
    "SWEEP": ("orderhooks.E010", _boolean),
    "RETENTION_DAYS": ("orderhooks.E017", retention_periods.fault_of),
    "RECONCILE_DAYS": ("orderhooks.E050", _reconcile_days),
    "STORES_FOR_USER": ("orderhooks.E018", _stores_for_user),
    "API_RATES": ("orderhooks.E019", _rates),
    "FEED_WAITERS": ("orderhooks.E074", _whole_number(0, 1000)),
    "METRICS_TOKEN": ("orderhooks.E073", _token),
    "ENCRYPTION_KEYS": ("orderhooks.E011", _keys),
    "ENCRYPT_PAYLOADS": ("orderhooks.E076", _boolean),
}


# Settings that may hold keys or passwords: their values are never shown.
SECRET = frozenset({"ENCRYPTION_KEYS", "EGRESS_PROXY", "METRICS_TOKEN"})


def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """ORDERHOOKS must be a dict of known keys with valid values."""
    given = conf.raw()
    if not isinstance(given, Mapping):
        return [
            Error("ORDERHOOKS is not a dict.", hint="Write ORDERHOOKS = {…} in the settings.", id="orderhooks.E001")
        ]
    return [*_unknown_keys(given), *_bad_values(given), *_missing_packages(given)]


def _unknown_keys(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key in given:
        if key not in conf.KEYS:
            near = spelling.nearest(str(key).upper(), conf.KEYS)
            hint = f"Did you mean {near!r}?" if near else f"The settings are: {', '.join(sorted(conf.KEYS))}."
            yield Error(f"ORDERHOOKS has an unknown key {key!r}.", hint=hint, id="orderhooks.E001")


def _missing_packages(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if given.get("METRICS_TOKEN") and find_spec("prometheus_client") is None:
        yield Error(
            "ORDERHOOKS['METRICS_TOKEN'] is set, but prometheus-client is not installed, so there are no metrics.",
            hint="python -m pip install 'orderhooks[metrics]'",
            id="orderhooks.E075",
        )


def _bad_values(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key, (check_id, judge) in JUDGES.items():
        if key in given and (hint := judge(given[key])):
            shown = "what it is" if key in SECRET else f"{given[key]!r:.200}"
            yield Error(f"ORDERHOOKS[{key!r}] can't be {shown}.", hint=hint, id=check_id)
