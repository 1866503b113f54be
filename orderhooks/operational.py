"""Operational topics: what happens to the delivery of webhooks itself, and the `data` of such an event.

`notifications` makes these events, for operational subscriptions alone. They are about no order.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["DATA", "SOURCE_UNSEEN", "TOPICS", "WORKER_MISSING", "example"]

WORKER_MISSING = "worker.missing"
SOURCE_UNSEEN = "source.unseen"
# What each topic means, in a sentence.
TOPICS: Mapping[str, str] = {
    "webhook.subscription.failing": "Every attempt for a subscription has failed for an hour.",
    "webhook.subscription.disabling_soon": "A subscription will be disabled soon, because every attempt fails.",
    "webhook.subscription.disabled": "A subscription was disabled: nothing more is sent to it until it is resumed.",
    "webhook.subscription.recovered": "A subscription that failed or was disabled gets its webhooks again.",
    "webhook.subscription.backlog": "Deliveries of a subscription that works have been due for half an hour.",
    WORKER_MISSING: "A worker is back after a time without any. Nothing was sent meanwhile.",
    SOURCE_UNSEEN: "Changes of an order source's orders were saved and made no events, or orders differ from theirs.",
}

_TIME = {"type": ["string", "null"], "format": "date-time"}
_URL = {"type": ["string", "null"], "description": "Its page in the admin; null without the setting BASE_URL."}
_WAITING = {"type": "integer", "minimum": 0, "description": "Deliveries that wait. 10001 means more than 10000."}
_SUBSCRIPTION: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^sub_[0-9A-Z]{26}$"},
        "name": {"type": "string"},
        "store": {"type": "string", "description": "Empty: all stores."},
        "state": {"enum": ["active", "paused", "disabled"]},
        "failing_since": _TIME,
        "disabled_at": {**_TIME, "description": "When it will be disabled unless an attempt succeeds, or was."},
        "waiting": _WAITING,
        "url": _URL,
    },
    "required": ["id", "name", "store", "state", "failing_since", "disabled_at", "waiting", "url"],
}
# The JSON Schema of `data`, the same for all of these topics.
DATA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What happened, in a few sentences for people."},
        "subscription": {"anyOf": [_SUBSCRIPTION, {"type": "null"}], "description": "null unless it is about one."},
        "subscriptions": {"type": "array", "items": _SUBSCRIPTION, "maxItems": 20},
        "count": {"type": "integer", "minimum": 0, "description": "How many subscriptions, also those not listed."},
        "source": {"type": "string", "description": "The order source of source.unseen; otherwise empty."},
        "since": {**_TIME, "description": "Since when; of several subscriptions, the earliest."},
        "waiting": _WAITING,
        "url": {**_URL, "description": "A page in the admin to look at; null without the setting BASE_URL."},
    },
    "required": ["message", "subscription", "subscriptions", "count", "source", "since", "waiting", "url"],
}


def example(topic: str) -> dict[str, Any]:
    """The `data` of an event of that topic."""
    if topic == WORKER_MISSING:
        return _system(
            "No worker was running for 25 min. It is back now. Nothing was sent meanwhile; 42 deliveries waited.",
            waiting=42,
        )
    if topic == SOURCE_UNSEEN:
        return _system(
            "Orders of “orderhooks” were changed without an event: 3 changes. manage.py orderhooks_doctor says what to"
            " do.",
            source="orderhooks",
        )
    is_disabled = topic == "webhook.subscription.disabled"
    page = "https://shop.example.com/admin/orderhooks/subscription/7/change/"
    is_well = topic in ("webhook.subscription.recovered", "webhook.subscription.backlog")
    since = None if is_well else "2026-11-23T08:55:00.000000Z"
    subscription = {
        "id": "sub_01KAR58K00W5QZ4N3XJ7T2M9CE",
        "name": "Warehouse",
        "store": "",
        "state": "disabled" if is_disabled else "active",
        "failing_since": since,
        "disabled_at": None if is_well else "2026-11-28T08:55:00.000000Z",
        "waiting": 3,
        "url": page,
    }
    return {
        "message": f"“Warehouse”: {TOPICS[topic]} Deliveries that wait: 3.",
        "subscription": subscription,
        "subscriptions": [subscription],
        "count": 1,
        "source": "",
        "since": since,
        "waiting": 3,
        "url": page,
    }


def _system(message: str, *, source: str = "", waiting: int = 0) -> dict[str, Any]:
    return {
        "message": message,
        "subscription": None,
        "subscriptions": [],
        "count": 0,
        "source": source,
        "since": "2026-11-23T09:35:00.000000Z",
        "waiting": waiting,
        "url": "https://shop.example.com/admin/orderhooks/dashboard/",
    }
