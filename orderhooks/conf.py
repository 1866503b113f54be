"""Every setting with its type and default; any module may ask for `current()`, which reads at call time.

A project sets them in one dict, `ORDERHOOKS = {"REQUIRE_HTTPS": False, …}`: the upper-cased names of the fields below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings

__all__ = ["API_RATES", "Settings", "current", "raw"]

MINUTE = 60.0
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. Times are seconds unless the name says otherwise."""

    # Dotted paths of the `OrderSource` classes whose orders are watched.
    sources: tuple[str, ...] = ("orderhooks.sources.BuiltInOrders",)
    # The store's own topics beside the built-in ones: {"order.gift_wrapped": "What it means, in a sentence"}.
    topics: Mapping[str, str] = field(default_factory=dict)
    # Refuse http:// endpoints, when a subscription is saved and when a delivery is sent.
    require_https: bool = True
    # Networks in CIDR notation, such as "10.20.0.0/16", in which receivers may be though they are not public.
    allowed_networks: tuple[str, ...] = ()
    # The URL of a proxy that all requests go through; it looks names up, and judges addresses, in our place.
    egress_proxy: str = ""
    # The path of a file of certificates to trust in place of certifi's.
    ca_bundle: str = ""
    # One attempt, from the first byte of the question to the last of the answer.
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
    # A subscription that has done nothing but fail for this long is disabled. Its deliveries are kept.
    disable_after_days: float = 5.0
    # How many requests one pump has under way at once: in all, to one subscription, and to one host.
    worker_threads: int = 64
    max_in_flight: int = 32
    max_in_flight_per_host: int = 32
    # How long a pump with nothing to do waits for more.
    linger_seconds: float = 10.0
    # Finished deliveries, their attempts and their events are kept for this long; what is still owed, always.
    retention_days: float = 90.0
    # Register the sweep (a django-q2 schedule, each minute) after `migrate`.
    sweep: bool = True
    # The dotted path of a function of a user that gives the stores whose orders the user may subscribe to; "" among
    # them stands for all. Blank: none, but for users who may manage all subscriptions.
    stores_for_user: str = ""
    # How often each user may have the API do what costs, as DRF writes rates ("30/min"); None: as often as wanted.
    api_rates: Mapping[str, str | None] = field(default_factory=dict)
    # Keys for secrets at rest, newest first; each any text of 16 characters or more. Empty: derived from SECRET_KEY.
    encryption_keys: tuple[str, ...] = ()


# The rates that hold for what API_RATES does not name.
API_RATES: Mapping[str, str] = {"test": "30/min", "replay": "60/hour", "redeliver": "120/min", "rotate": "30/hour"}

KEYS = {setting.name.upper(): setting.name for setting in fields(Settings)}


def raw() -> Mapping[str, Any]:
    """The dict as the project wrote it; what `checks` judges."""
    return getattr(settings, "ORDERHOOKS", {})


def current() -> Settings:
    """The settings in force at this moment. What is wrong with them is left to the system checks."""
    global _last
    given = raw()
    if given != _last[0]:
        _last = (dict(given), _read(given))
    return _last[1]


def _read(given: Mapping[str, Any]) -> Settings:
    # Lists become tuples, so that the settings in force can't be altered (and `sources` can be a cache's key).
    known: dict[str, Any] = {
        KEYS[key]: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key in KEYS
    }
    return Settings(**known)


_last: tuple[Mapping[str, Any], Settings] = ({}, Settings())
