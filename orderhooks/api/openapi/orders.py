"""The operations on orders, events and topics."""

from orderhooks.api.events import LARGEST_SEQUENCE, EventSerializer
from orderhooks.api.openapi.describing import Answer, Key, Operation, Page, Schema, object_of
from orderhooks.api.openapi.parameters import IF_MATCH, IF_NONE_MATCH, in_query
from orderhooks.api.orders import OrderSerializer

__all__ = ["COMPONENTS", "OPERATIONS"]

EXAMPLE = {
    "currency": "EUR",
    "shipping": "4.90",
    "customer_name": "Ada Byron",
    "customer_email": "ada@example.com",
    "shipping_address": {"city": "London"},
    "lines": [{"sku": "TEA-1", "name": "Green tea", "quantity": 2, "unit_price": "9.95"}],
}
AMOUNTS = (
    "`subtotal` is the sum of the lines unless it is given. `total` is worked out again whenever an amount or the lines"
    " are given and it is not."
)
LINES = (
    "`lines`, when given, are all the lines that there shall be. A line whose SKU the order has already is that line,"
    " and keeps what is not given."
)
REFUSED = "It is of the right form, but can't be: the number is taken, say, or more is fulfilled than was ordered."
CHANGED = "It has changed since you read it, so nothing was done."

FEED: Schema = {
    **object_of(
        next={"type": ["string", "null"], "description": "The address of what comes next; null if this is all."},
        after={"type": "integer", "description": "The last sequence looked at: where to go on another time."},
        results={"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
    ),
    "description": "With `after`: events in sequence.",
}
TOPIC: Schema = object_of(
    name={"type": "string"},
    description={"type": "string"},
    schema={"type": "object", "description": "The JSON Schema (draft 2020-12) of the whole body."},
    example={"type": "object", "description": "A whole body."},
)

ORDERS: dict[Key, Operation] = {
    ("OrderViewSet", "list"): Operation(
        "listOrders", "List orders", {200: Answer("A page of orders, newest first.", Page(OrderSerializer))}
    ),
    ("OrderViewSet", "create"): Operation(
        "createOrder",
        "Make an order",
        {201: Answer("The order.", OrderSerializer, headers=["ETag"])},
        f"With its lines, in one transaction, which makes one event. {AMOUNTS} Without a `number` one is made.",
        body=OrderSerializer,
        example=EXAMPLE,
        problems={422: REFUSED},
    ),
    ("OrderViewSet", "retrieve"): Operation(
        "getOrder",
        "Read an order",
        {
            200: Answer("The order.", OrderSerializer, headers=["ETag"]),
            304: Answer("You have it already.", headers=["ETag"]),
        },
        parameters=[IF_NONE_MATCH],
    ),
    ("OrderViewSet", "update"): Operation(
        "replaceOrder",
        "Change an order",
        {200: Answer("The order as it is now.", OrderSerializer, headers=["ETag"])},
        f"{LINES} {AMOUNTS} Other fields that are not given stay as they are.",
        body=OrderSerializer,
        example=EXAMPLE,
        parameters=[IF_MATCH],
        problems={412: CHANGED, 422: REFUSED},
    ),
    ("OrderViewSet", "partial_update"): Operation(
        "changeOrder",
        "Change some of an order",
        {200: Answer("The order as it is now.", OrderSerializer, headers=["ETag"])},
        f"What is not given stays as it is. {LINES} {AMOUNTS}",
        body=OrderSerializer,
        example={"payment_status": "paid"},
        parameters=[IF_MATCH],
        problems={412: CHANGED, 422: REFUSED},
    ),
    ("OrderViewSet", "destroy"): Operation(
        "deleteOrder",
        "Delete an order",
        {204: Answer("It is gone.")},
        "Its events stay, and `order.deleted` comes with its last state.",
        parameters=[IF_MATCH],
        problems={412: CHANGED},
    ),
    ("OrderViewSet", "webhooks"): Operation(
        "getOrderWebhooks",
        "What came of an order's events",
        {
            200: Answer(
                "The newest 50 events, newest first, each with the first 200 subscriptions.",
                {"type": "array", "items": {"$ref": "#/components/schemas/EventReport"}},
            )
        },
        "For each event and each subscription that you see: what came of it, or why nothing did.",
    ),
}
EVENTS: dict[Key, Operation] = {
    ("EventViewSet", "list"): Operation(
        "listEvents",
        "List events, or read the feed",
        {
            200: Answer(
                "A page of the log, newest first; with `after`, of the feed.",
                {"anyOf": [{"$ref": "#/components/schemas/PageOfEvent"}, {"$ref": "#/components/schemas/EventFeed"}]},
            )
        },
        "Without `after`, the log. With it, the feed: what was published behind that sequence, oldest first, each event"
        " once. The feed takes `subscription` and `page_size` beside it and nothing else. It is ten seconds behind, so"
        " that none is left out.",
        parameters=[
            in_query(
                "after",
                {"type": "integer", "minimum": 0, "maximum": LARGEST_SEQUENCE},
                "The sequence of the last event that you have; 0 to begin with the oldest that is kept.",
            ),
            in_query(
                "subscription",
                {"type": "string", "pattern": "^sub_[0-9A-Z]{26}$"},
                "With `after` alone: only what this subscription wants.",
            ),
        ],
        problems={422: "The cursor is none of ours, say, or there is no such subscription."},
    ),
    ("EventViewSet", "retrieve"): Operation("getEvent", "Read an event", {200: Answer("The event.", EventSerializer)}),
    ("EventViewSet", "republish"): Operation(
        "republishEvent",
        "Publish an event again",
        {200: Answer("The event, published.", EventSerializer)},
        "For one whose payload could not be built; it gets the order as it is now.",
        problems={409: "It is published already, or its payload can't be built still; or the key came with another."},
    ),
}
TOPICS: dict[Key, Operation] = {
    ("TopicViewSet", "list"): Operation(
        "listTopics",
        "List the topics",
        {200: Answer("All that can happen.", {"type": "array", "items": {"$ref": "#/components/schemas/Topic"}})},
    ),
    ("TopicViewSet", "retrieve"): Operation(
        "getTopic",
        "Read a topic",
        {200: Answer("The topic, with what its receivers get.", {"$ref": "#/components/schemas/Topic"})},
    ),
    ("TopicViewSet", "json_schema"): Operation(
        "getTopicSchema",
        "Read a topic's JSON Schema",
        {200: Answer("Of the whole body (draft 2020-12).", {"type": "object"}, media_type="application/schema+json")},
    ),
}
OPERATIONS = {**ORDERS, **EVENTS, **TOPICS}

# What the operations refer to and no serializer shows.
COMPONENTS: dict[str, Schema] = {"EventFeed": FEED, "Topic": TOPIC}
