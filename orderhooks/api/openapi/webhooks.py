"""The document's `webhooks`: the requests that receivers get, one for each topic, drawn from the catalogue."""

from typing import Any

import orderhooks
from orderhooks import catalogue
from orderhooks.api.openapi.describing import Schema
from orderhooks.api.openapi.parameters import in_header

__all__ = ["webhooks"]

ORDER = "WebhookOrder"
SIGNED = (
    "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 over `webhook-id.webhook-timestamp.body`, for each"
    " secret in force, with a space between them; `v1a,` by Ed25519. A subscription that signs as GitHub, Stripe,"
    " Shopify or WooCommerce do has their headers beside these."
)
TEXT: Schema = {"type": "string"}
# How an answer is understood.
ANSWERS: dict[str, Schema] = {
    "2XX": {"description": "It has arrived. The body is kept in the log, up to 4 KiB, and not read otherwise."},
    "410": {"description": "The endpoint is gone: its subscription is disabled at once."},
    "429": {
        "description": "Too many: the endpoint cools down, and the delivery is tried again, not before `Retry-After`.",
        "headers": {
            "Retry-After": {
                "description": "Seconds or an HTTP date; at most 24 hours are waited.",
                "schema": {"type": "string"},
            }
        },
    },
    "default": {
        "description": "It has not arrived. It is tried again by a table over about three days; `Retry-After` can"
        " lengthen a wait. Redirects are not followed. 502, 503 and 504 let the endpoint cool down too."
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
            "content": {"application/json": {"schema": _body(entry), "example": dict(entry.example)}},
        },
        # The signature tells who is calling.
        "security": [],
        "responses": ANSWERS,
    }


def _headers(entry: catalogue.Entry) -> list[Schema]:
    public_id = {"type": "string", "pattern": "^evt_[0-9A-Z]{26}$"}
    told: list[tuple[str, Schema, str]] = [
        ("webhook-id", public_id, "The event: the same on every attempt. Act on each once."),
        ("webhook-timestamp", {"type": "integer"}, "Of this attempt, in Unix seconds."),
        ("webhook-signature", {**TEXT, "examples": ["v1,Gmru9dha40p1txCadzzgXR4p/hlo3S1Q5DTfs3akSE4="]}, SIGNED),
        ("webhook-topic", {**TEXT, "const": entry.name}, ""),
        ("webhook-attempt", {"type": "integer", "minimum": 1}, "Not signed."),
        ("user-agent", {**TEXT, "const": f"orderhooks/{orderhooks.__version__}"}, ""),
    ]
    # An endpoint that signs in another way has its signature elsewhere.
    return [in_header(name, schema, text, required=name != "webhook-signature") for name, schema, text in told]


def _body(entry: catalogue.Entry) -> Schema:
    # The document says which dialect its schemas are in, and tells an order once.
    schema: dict[str, Any] = {name: value for name, value in entry.schema.items() if name != "$schema"}
    data = schema["properties"]["data"]
    properties = {**data["properties"], "order": {"$ref": f"#/components/schemas/{ORDER}"}}
    return {**schema, "properties": {**schema["properties"], "data": {**data, "properties": properties}}}
