"""Topics: the kinds of events. The module `catalogue` adds the schema and the example of what receivers get."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orderhooks import conf, operational, sources, spelling
from orderhooks.payloads import REDACTED

__all__ = [
    "Topic",
    "UnknownTopicError",
    "catalogue",
    "fault_of",
    "is_operational_pattern",
    "matches",
    "of_kind",
    "require",
    "require_operational_pattern",
    "require_pattern",
    "require_publishable",
]

# What a column keeps.
LONGEST = 128
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")


class UnknownTopicError(ValueError):
    """The catalogue does not have the topic, or no topic that fits the pattern. The message says the remedy."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of event: its name, with dots, and a sentence that describes it."""

    name: str
    description: str


BUILT_IN = (
    Topic("order.created", "An order was placed."),
    Topic("order.updated", "Something about an order changed: a status, an amount, an address, a line, a payment."),
    Topic("order.cancelled", "An order was cancelled: nothing more will be charged or shipped."),
    Topic("order.closed", "An order is done with and was put away."),
    Topic("order.reopened", "A cancelled or closed order is open again."),
    Topic("order.authorized", "The payment is reserved, not yet taken."),
    Topic("order.partially_paid", "A part of the payment has arrived."),
    Topic("order.paid", "The payment has arrived in full."),
    Topic("order.partially_refunded", "A part of the payment went back to the customer."),
    Topic("order.refunded", "The whole payment went back to the customer."),
    Topic("order.voided", "The reserved payment was released without being taken."),
    Topic("order.partially_fulfilled", "A part of the order is on its way."),
    Topic("order.fulfilled", "All of the order is on its way."),
    Topic("order.returned", "The customer sent the order back."),
    Topic("order.fulfillment_created", "A shipment was made: all of the order, or a part of it."),
    Topic("order.fulfillment_updated", "A shipment changed: its tracking, its times, or what is in it."),
    Topic("order.payment_created", "A payment arrived."),
    Topic("order.refund_created", "Money went back to the customer: all of it, or a part."),
    Topic("order.deleted", "An order was removed from the store; the event holds its last state."),
    Topic(REDACTED, "The personal data of an order was erased: erase your copies of it too. It holds ids alone."),
    Topic("webhook.test", "An operator tested whether the endpoint responds."),
)


def catalogue() -> dict[str, Topic]:
    """All topics by name: the built-in ones, those that order sources bring, then those of the setting TOPICS.

    A later description of a name replaces an earlier one.
    """
    own = {**_of_sources(), **conf.current().topics}
    return {topic.name: topic for topic in (*BUILT_IN, *(Topic(*item) for item in own.items()))}


def _of_sources() -> dict[str, str]:
    """The topics that the order sources bring. None if the setting SOURCES or a source is wrong; a check reports it."""
    try:
        return {name: text for source in sources.configured().values() for name, text in source.topics.items()}
    except Exception:
        return {}


def fault_of(own: Any) -> str:
    """What is wrong with topics that a project or an order source adds, with the remedy. Blank if nothing is."""
    if not isinstance(own, Mapping):
        return "Give a dict: {'order.gift_wrapped': 'What it means, in a sentence.'}."
    for name, description in own.items():
        if not isinstance(name, str) or not NAME.match(name):
            return f"{name!r} is not a valid topic. Use lower-case words joined by dots, such as 'order.gift_wrapped'."
        if name in operational.TOPICS:
            return f"{name!r} is a topic of operational subscriptions. Choose another name."
        if len(name) > LONGEST:
            return f"The topic {name[:50]!r}… has {len(name)} characters. Give it at most {LONGEST}."
        if not isinstance(description, str) or not description:
            return f"Describe {name!r} in a sentence; people choose topics by it."
    return ""


def require(name: str) -> Topic:
    """The topic with that name. Raises UnknownTopicError."""
    known = catalogue()
    if name not in known:
        raise UnknownTopicError(
            f"There is no topic {name!r}. {_near(name, known)}Use one of: {', '.join(known)}; "
            'or add your own to ORDERHOOKS["TOPICS"].'
        )
    return known[name]


def require_publishable(name: str) -> Topic:
    """The topic with that name, which may be published with an order. Raises UnknownTopicError."""
    if name == REDACTED:
        raise UnknownTopicError(
            f"{REDACTED!r} can't be published by hand. An erasure makes it: `manage.py orderhooks_erase`, or "
            "`operations.erase`."
        )
    if name in operational.TOPICS:
        raise UnknownTopicError(f"{name!r} can't be published by hand: it is about no order, and made by itself.")
    return require(name)


def require_operational_pattern(pattern: object) -> str:
    """Return the pattern if it is an operational topic, `*`, or a family such as `webhook.*` with at least one.

    Raises:
        UnknownTopicError: it is none of these.
    """
    if isinstance(pattern, str) and is_operational_pattern(pattern):
        return pattern
    raise UnknownTopicError(
        f"{pattern!r} is not a topic of operational subscriptions. Use '*', a family such as 'webhook.subscription.*', "
        f"or one of: {', '.join(operational.TOPICS)}."
    )


def is_operational_pattern(pattern: object) -> bool:
    """Whether it is an operational topic, or a pattern that at least one fits."""
    return isinstance(pattern, str) and any(matches([pattern], name) for name in operational.TOPICS)


def of_kind(topic: str, *, is_operational: bool) -> bool:
    """Whether subscriptions of that kind may get the topic: operational ones get operational topics and no other."""
    return (topic in operational.TOPICS) == is_operational


def require_pattern(pattern: object) -> str:
    """Return the pattern if it is a topic, `*`, or a family such as `order.*` with at least one topic.

    Raises:
        UnknownTopicError: it is none of these.
    """
    if not isinstance(pattern, str):
        raise UnknownTopicError(f"A topic is a text such as 'order.paid', not {pattern!r}.")
    if pattern == "*":
        return pattern
    if pattern in operational.TOPICS:
        raise UnknownTopicError(
            f"{pattern!r} is a topic of operational subscriptions. Choose topics of orders, or add an operational "
            "subscription, for which a user must manage all subscriptions."
        )
    if pattern.endswith(".*"):
        if any(matches([pattern], name) for name in catalogue()):
            return pattern
        families = {f"{name.rpartition('.')[0]}.*" for name in catalogue()}
        raise UnknownTopicError(
            f"No topic begins with {pattern[:-1]!r}. {_near(pattern, families)}Use 'order.*', '*' or a topic's name."
        )
    return require(pattern).name


def _near(name: str, known: Iterable[str]) -> str:
    near = spelling.nearest(name, known)
    return f"Did you mean {near!r}? " if near else ""


def matches(patterns: Iterable[str], topic: str) -> bool:
    """Whether the topic fits any of the patterns (`*`, `order.*`, `order.paid`)."""
    return any(
        pattern in ("*", topic) or (pattern.endswith(".*") and topic.startswith(pattern[:-1])) for pattern in patterns
    )
