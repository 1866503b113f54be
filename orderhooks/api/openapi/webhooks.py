"""The document's `webhooks`: the requests that receivers get, one for each topic of the catalogue."""

from typing import Any

import orderhooks
from orderhooks import catalogue, operational, payloads
from orderhooks.api.openapi.descriptions import Schema
from orderhooks.api.openapi.parameters import in_header
from orderhooks.transport.outcomes import INSTRUCTIONS

__all__ = ["webhooks"]

ORDER = "WebhookOrder"
SIGNED = (
    "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 of `webhook-id.webhook-timestamp.body`, for each valid"
    " secret, separated by spaces; `v1a,` for Ed25519. A subscription with the signature of GitHub, Stripe, Shopify or"
    " WooCommerce also has their headers."
)
TEXT: Schema = {"type": "string"}
# What a receiver may ask for in any response.
INSTRUCTION: Schema = {
    "webhook-delivery": {
        "description": "`disable`: the subscription is disabled, as by 410. `abort-message` (or `abort`): if the"
        " webhook has not arrived, it is not tried again, and the endpoint counts as one that works. Any other value"
        " is ignored.",
        "schema": {"type": "string", "enum": sorted(INSTRUCTIONS)},
    }
}
# How the responses of receivers are interpreted.
RESPONSES: dict[str, Schema] = {
    "2XX": {
        "description": "The webhook has arrived. Up to 4 KiB of the body are stored in the log.",
        "headers": INSTRUCTION,
    },
    "410": {"description": "The endpoint is gone. Its subscription is disabled at once."},
    "429": {
        "description": "Too many requests. The endpoint cools down; the next attempt is after `Retry-After`.",
        "headers": {
            **INSTRUCTION,
            "Retry-After": {
                "description": "Seconds or an HTTP date, at most 24 hours.",
                "schema": {"type": "string"},
            },
        },
    },
    "default": {
        "description": "The webhook has not arrived. It is tried again over about three days; `Retry-After` can delay"
        " the next attempt. Redirects are not followed. After 502, 503 and 504 the endpoint cools down too.",
        "headers": INSTRUCTION,
    },
}


def webhooks() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The webhooks by topic, and the components that they refer to."""
    entries = catalogue.entries()
    order = entries[0].schema["properties"]["data"]["properties"]["order"]
    return {entry.name: {"post": _request(entry)} for entry in entries}, {ORDER: order}


def _request(entry: catalogue.Entry) -> Schema:
    return {
        "operationId": f"webhook_{entry.name.replace('.', '_')}",
        "summary": entry.name,
        "description": entry.description,
        "tags": ["webhooks"],
        "parameters": list(_headers(entry)),
        "requestBody": {
            "required": True,
            "description": "In the format `standard`. A subscription's `format` may write it in another way.",
            "content": {"application/json": {"schema": _body(entry), "example": dict(entry.example)}},
        },
        # The signature authenticates the request.
        "security": [],
        "responses": RESPONSES,
    }


def _headers(entry: catalogue.Entry) -> list[Schema]:
    public_id = {"type": "string", "pattern": "^evt_[0-9A-Z]{26}$"}
    headers: list[tuple[str, Schema, str]] = [
        ("webhook-id", public_id, "The id of the event, the same on every attempt. Act on each once."),
        ("webhook-timestamp", {"type": "integer"}, "The time of this attempt in Unix seconds."),
        ("webhook-signature", {**TEXT, "examples": ["v1,anjy/AEk2xeQmrfAvMzNrds11d32W77hNXmf0KxM5mM="]}, SIGNED),
        ("webhook-topic", {**TEXT, "const": entry.name}, ""),
        ("webhook-source", TEXT, "The order source, as in the body. Missing in tests of endpoints."),
        ("webhook-attempt", {"type": "integer", "minimum": 1}, "The number of this attempt. Not signed."),
        (
            "deprecation",
            {**TEXT, "pattern": "^@[0-9]+$"},
            "Since when this version of the body is deprecated (RFC 9745).",
        ),
        ("sunset", TEXT, "When this version of the body ends (RFC 8594)."),
        ("link", TEXT, "A page about the end of this version."),
        ("user-agent", {**TEXT, "const": f"orderhooks/{orderhooks.__version__}"}, ""),
    ]
    # With the signature of another sender its header is missing. Most versions of the body have no end.
    optional = ("webhook-signature", "webhook-source", "deprecation", "sunset", "link")
    return [in_header(name, schema, text, required=name not in optional) for name, schema, text in headers]


def _body(entry: catalogue.Entry) -> Schema:
    # The document declares the dialect of its schemas, and has the order as a component.
    schema: dict[str, Any] = {name: value for name, value in entry.schema.items() if name != "$schema"}
    data = schema["properties"]["data"]
    if entry.name == payloads.REDACTED or entry.name in operational.TOPICS:
        return schema
    properties = {**data["properties"], "order": {"$ref": f"#/components/schemas/{ORDER}"}}
    return {**schema, "properties": {**schema["properties"], "data": {**data, "properties": properties}}}
