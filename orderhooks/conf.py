"""The settings with their types and defaults. Any module may call `current()`, which reads them at call time.

A project sets them in one dict, `ORDERHOOKS = {"REQUIRE_HTTPS": False, …}`: the upper-cased names of the fields below.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings

__all__ = ["API_RATES", "Settings", "current", "raw"]

MINUTE = 60.0
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. Durations are in seconds, unless the name has another unit."""

    # Dotted paths of the `OrderSource` classes whose orders are watched.
    sources: tuple[str, ...] = ("orderhooks.sources.BuiltInOrders",)
    # The store's own topics beside the built-in ones: {"order.gift_wrapped": "What it means, in a sentence"}.
    topics: Mapping[str, str] = field(default_factory=dict)
    # The dotted paths of the store's own formats, by the names that subscriptions choose them by.
    formats: Mapping[str, str] = field(default_factory=dict)
    # Where people reach the store, without a slash at the end: "https://shop.example.com". Blank: links are paths.
    base_url: str = ""
    # The DNS name that CloudEvents endpoints are asked to allow. Blank: that of BASE_URL, or this machine's.
    request_origin: str = ""
    # Newer versions of the body, which subscriptions move to one by one: {"2027-01-15": {"to_previous": …}}; None
    # withdraws one. See `versions`.
    api_versions: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    # Refuse http:// endpoints, when a subscription is saved and when a delivery is sent.
    require_https: bool = True
    # Networks in CIDR notation, such as "10.20.0.0/16", that are open to receivers although they are not public.
    allowed_networks: tuple[str, ...] = ()
    # The URL of a proxy for all requests. It then resolves names and guards addresses instead of orderhooks.
    egress_proxy: str = ""
    # The path of a PEM file with the certificates to trust instead of certifi's.
    ca_bundle: str = ""
    # The limit of one attempt, from the DNS query to the last byte of the response.
    timeout_seconds: float = 15.0
    # The wait before attempt 2, 3, … (the table of the Standard Webhooks specification, about three days).
    retry_schedule: tuple[float, ...] = (
        5.0,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        5 * HOUR,
        10 * HOUR,
        14 * HOUR,
        20 * HOUR,
        24 * HOUR,
    )
    # A subscription whose attempts have all failed for this long is disabled. Its deliveries are kept.
    disable_after_days: float = 5.0
    # The most requests at once of one pump: in total, to one subscription, and to one host.
    worker_threads: int = 64
    max_in_flight: int = 32
    max_in_flight_per_host: int = 32
    # How long a pump without work waits for more.
    linger_seconds: float = 10.0
    # How many days finished records are kept: a number for all kinds, or a dict of days by kind. See
    # `retention_periods`. Deliveries that wait are always kept.
    retention_days: float | Mapping[str, float] = 90.0
    # Each day, the orders of the last days are compared with what was last published: of how many days. None: never.
    reconcile_days: float | None = None
    # Whether a worker makes the events of what a save has written down, in place of the process that saved it.
    coalesce_in_worker: bool = False
    # What runs the workers: "django_q", "celery", "django_tasks", or "none" for `manage.py orderhooks_work`.
    queue: str = "django_q"
    # Whether the queue's scheduler starts a pump each minute, and prunes each day.
    sweep: bool = True
    # The dotted path of a function that takes a user and returns the stores whose orders the user may subscribe to; ""
    # stands for all. Blank: only users who may manage all subscriptions can subscribe.
    stores_for_user: str = ""
    # The limits of expensive API actions for each user, in DRF's notation ("30/min"). None: no limit.
    api_rates: Mapping[str, str | None] = field(default_factory=dict)
    # How many requests of one process may wait for an event of the feed (`events/?wait=`). 0: none.
    feed_waiters: int = 4
    # The bearer token with which Prometheus reads the metrics. Blank: only users who may view deliveries can.
    metrics_token: str = field(default="", repr=False)
    # The keys that encrypt stored secrets, the newest first, each a text of at least 16 characters. Empty: derived from
    # SECRET_KEY.
    encryption_keys: tuple[str, ...] = ()
    # Whether what orders contain is encrypted in the tables of orderhooks: payloads, changes, receivers' responses.
    encrypt_payloads: bool = False


# The rates of the actions that the setting API_RATES does not name.
API_RATES: Mapping[str, str] = {
    "test": "30/min",
    "replay": "60/hour",
    "redeliver": "120/min",
    "rotate": "30/hour",
    "resume": "30/min",
}

KEYS = {setting.name.upper(): setting.name for setting in fields(Settings)}


def raw() -> Mapping[str, Any]:
    """The dict ORDERHOOKS as the project wrote it. `checks` judges it.

    Empty where Django has no settings: a receiver's tests use `testing` without them.
    """
    if not settings.configured and ENVIRONMENT_VARIABLE not in os.environ:
        return {}
    return getattr(settings, "ORDERHOOKS", {})


def current() -> Settings:
    """The settings in force now. Unknown keys are ignored, and values are not checked: the system checks do that."""
    global _last
    given, last = raw(), _last
    if given != last[0]:
        last = _last = (dict(given), _read(given))
    return last[1]  # what this thread has compared, whatever another one does meanwhile


def _read(given: Mapping[str, Any]) -> Settings:
    # Lists become tuples, so that the settings can't be changed in place, and `sources` can be the key of a cache.
    known: dict[str, Any] = {
        KEYS[key]: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key in KEYS
    }
    return Settings(**known)


_last: tuple[Mapping[str, Any], Settings] = ({}, Settings())
