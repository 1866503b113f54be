"""The catalogue of topics, each with the JSON Schema of its body and an example. Admin, API and tests use it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from orderhooks import conf, json_schema, logs, operational, sources, topics, versions
from orderhooks.payloads import REDACTED
from orderhooks.sources import OrderSource

__all__ = [
    "OPERATIONAL",
    "TEST",
    "Entry",
    "entries",
    "entry",
    "example",
    "number_of",
    "offered",
    "schema_in",
    "test_data",
]

logger = logs.get_logger(__name__)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The topic of tests of endpoints.
TEST = "webhook.test"
# Each order source makes these.
OF_EACH_SOURCE = frozenset({"order.created", "order.updated", "order.deleted", REDACTED})
# Those of operational subscriptions. They are in no other list of topics, because other subscriptions never get them.
OPERATIONAL = tuple(topics.Topic(*item) for item in operational.TOPICS.items())
PAIR = {"type": "array", "minItems": 2, "maxItems": 2}
# Old rows and new rows.
ROWS = {**PAIR, "items": {"type": "array"}}
REDACTED_DATA = {
    "type": "object",
    "properties": {
        "order": {
            "type": "object",
            "properties": {
                "id": {"type": ["string", "integer"], "description": "As in the other events of the order."},
                "number": {"type": "string"},
                "store": {"type": "string"},
            },
            "required": ["id", "number", "store"],
        },
        "changes": {"type": "object", "description": "Empty."},
        "redacted": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The paths in `data.order` of other events at which something was erased.",
        },
    },
    "required": ["order", "changes", "redacted"],
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A topic with the JSON Schema (draft 2020-12) of the whole body, and an example of it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    example: Mapping[str, Any]


def offered() -> list[topics.Topic]:
    """The topics that this project can make, in the catalogue's order: those to choose from.

    These are the topics of its order sources, of the setting TOPICS, and of tests. Other known topics stay valid,
    because the store may publish them itself. All known topics, with an error in the log, if the setting SOURCES is
    wrong.
    """
    known = topics.catalogue()
    try:
        of_sources = {name for source in sources.configured().values() for name in source.own_topics()}
    except Exception:
        logger.exception("all topics are offered: the setting SOURCES is wrong")
        return list(known.values())
    names = {*OF_EACH_SOURCE, *of_sources, *conf.current().topics, TEST}
    return [topic for topic in known.values() if topic.name in names]


def entries() -> list[Entry]:
    """The offered topics, then the operational ones. Schemas cover all order sources; examples are by the first one."""
    known = list(sources.configured().values())
    return [_entry(topic, known) for topic in (*offered(), *OPERATIONAL)]


def entry(name: str, *, version: str = "") -> Entry:
    """One of all known topics, offered or not, also an operational one.

    `version`: that of the example; blank: the newest, which the schema has.

    Raises:
        UnknownTopicError: there is no such topic.
        VersionError: the version is not registered, or the example can't be converted to it.
    """
    found = _entry(_topic(name), list(sources.configured().values()))
    return replace(found, example=versions.convert(dict(found.example), version)) if version else found


def schema_in(version: str, name: str) -> Mapping[str, Any]:
    """The JSON Schema of a topic's body in that version. That of an older one is made from the converted examples of
    all order sources, and allows what they leave open.

    Raises:
        UnknownTopicError: there is no such topic.
        VersionError: the version is not registered, or an example can't be converted to it.
    """
    topic, known = _topic(name), list(sources.configured().values())
    if version == versions.newest() or name in operational.TOPICS:
        return _schema(topic, known)
    found: list[Mapping[str, Any]] = []
    each: list[OrderSource | None] = [*known] or [None]
    for source in each:
        newest = _schema(topic, [source] if source else [])
        body = example(name, source)
        older = json_schema.of_example(versions.convert(body, version), newest, body, newest)
        # The example has the changes of one topic, and a conversion may rename them.
        older["properties"]["data"].get("properties", {})["changes"] = {"type": "object"}
        if older not in found:
            found.append(older)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _topic(name: str) -> topics.Topic:
    own = {topic.name: topic for topic in OPERATIONAL}
    return own[name] if name in own else topics.require(name)


def _entry(topic: topics.Topic, known: list[OrderSource]) -> Entry:
    shown = example(topic.name, known[0] if known else None)
    return Entry(topic.name, topic.description, _schema(topic, known), shown)


def test_data() -> dict[str, Any]:
    """The `data` of a `webhook.test`: the example of the first order source."""
    known = list(sources.configured().values())
    return _data(TEST, known[0] if known else None)


def _schema(topic: topics.Topic, known: list[OrderSource]) -> dict[str, Any]:
    properties: dict[str, dict[str, Any]] = {
        "id": {
            "type": "string",
            "pattern": "^evt_[0-9A-Z]{26}$",
            "description": "The same on every attempt: act on each id once.",
        },
        "type": {"const": topic.name},
        "timestamp": {**sources.TIMESTAMP, "description": "When it happened, UTC."},
        "api_version": {"const": versions.newest()},
        "sequence": {
            "type": "integer",
            "minimum": 1,
            "description": "Grows, with gaps: of two events of an order, the higher is the later.",
        },
        "source": _source(topic, known),
        "store": {"type": "string"},
        "data": _data_schema(topic, known),
    }
    return {
        "$schema": DIALECT,
        "title": topic.name,
        "description": topic.description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _data_schema(topic: topics.Topic, known: list[OrderSource]) -> dict[str, Any]:
    if topic.name == REDACTED:
        return REDACTED_DATA
    if topic.name in operational.TOPICS:
        return dict(operational.DATA)
    orders = [source.schema() for source in known]
    watched = dict.fromkeys(name for source in known for name in source.watched)
    keys = dict.fromkeys(related.key for source in known for related in source.all_related)
    changes = {
        "type": "object",
        "description": "[old, new] of each field that the transaction changed.",
        "properties": {**dict.fromkeys(watched, PAIR), **dict.fromkeys(keys, ROWS)},
    }
    return {
        "type": "object",
        "properties": {"order": orders[0] if len(orders) == 1 else {"anyOf": orders or [{}]}, "changes": changes},
        "required": ["order", "changes"],
    }


def _source(topic: topics.Topic, known: list[OrderSource]) -> dict[str, Any]:
    if topic.name in operational.TOPICS:
        return {"const": "", "description": "It is about no order."}
    if not known:
        return {"type": "string"}
    names = [source.name for source in known]
    # A test is about no order.
    return {"enum": ["", *names] if topic.name == TEST else names, "description": "The order source's name."}


def example(topic: str, source: OrderSource | None) -> dict[str, Any]:
    """An example body of that topic, with the source's example of an order."""
    return {
        "id": "evt_01KAR5BBR0D4Y8H6S1V3PBN2WK",
        "type": topic,
        "timestamp": "2026-11-23T10:00:00.000000Z",
        "api_version": versions.newest(),
        "sequence": 812,
        "source": source.name if source and topic != TEST and topic not in operational.TOPICS else "",
        "store": "",
        "data": _data(topic, source),
    }


def number_of(order: Mapping[str, Any], source: OrderSource | None = None) -> str:
    """What people call an example order: its number by the source, by default the first one of the settings.

    A source that reads more of its model than the example has gives no number. Then the example's own one counts, if
    it has any.
    """
    chosen = source or next(iter(sources.configured().values()), None)
    found: object = ""
    if chosen is not None:
        with suppress(Exception):
            found = chosen.number(_ExampleOrder(order))
    return str(found or order.get("number") or "")


class _ExampleOrder(SimpleNamespace):
    """An example's fields as attributes, as an order source reads them of its model."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        super().__init__(**{"pk": order.get("id", 1), **{str(name): value for name, value in order.items()}})


def _data(topic: str, source: OrderSource | None) -> dict[str, Any]:
    if topic in operational.TOPICS:
        return operational.example(topic)
    order = source.example() if source else {}
    if topic == REDACTED:
        return _redacted_data(source, order)
    if source is None:
        return {"order": {}, "changes": {}}
    field, value = _transition(topic, source, order)
    if not field:
        return {"order": order, "changes": {}}
    before = order[field]
    if before == value:
        # The field already has this value in the example, such as an order that is reopened.
        before = next((other for other in source.transitions[field] if other != value), None)
    return {"order": {**order, field: value}, "changes": {field: [before, value]}}


def _redacted_data(source: OrderSource | None, order: Mapping[str, Any]) -> dict[str, Any]:
    erased = sources.Erased()
    if source is not None:
        sources.personal_data_of(source)[0].erase(order, erased)
    ids = {"id": order.get("id", "1"), "number": number_of(order, source), "store": ""}
    return {"order": ids, "changes": {}, "redacted": sorted(erased.paths)}


def _transition(topic: str, source: OrderSource, order: Mapping[str, Any]) -> tuple[str, str]:
    """The field and its new value that cause the topic, or two blanks. Any change causes `order.updated`."""
    for field, by_value in source.transitions.items():
        for value, meant in by_value.items():
            if field in order and (meant == topic or (topic == "order.updated" and value != order[field])):
                return field, value
    return "", ""
