"""The problems in the OpenAPI document: which statuses an operation may have, and what they mean."""

from collections.abc import Mapping
from http import HTTPStatus

from orderhooks.api.openapi.descriptions import Operation, Schema, object_of
from orderhooks.api.openapi.parameters import RESPONSE_HEADERS
from orderhooks.api.protocol import problems

__all__ = ["RESPONSES", "SCHEMAS", "meanings", "response"]

ERROR: Schema = {
    **object_of(detail={"type": "string"}, code={"type": "string", "description": "For programs."}),
    "description": "What is wrong at one place of the request.",
}
ERROR["properties"] |= {
    "pointer": {"type": "string", "description": "A place in the body (RFC 6901)."},
    "parameter": {"type": "string", "description": "A query parameter."},
}
PROBLEM: Schema = {
    **object_of(
        type={"type": "string", "const": "about:blank"},
        title={"type": "string"},
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail={"type": "string", "description": "What is wrong and what to do, for people."},
        code={"type": "string", "description": "For programs."},
    ),
    "description": "Problem details (RFC 9457).",
}
PROBLEM["properties"] |= {"errors": {"type": "array", "items": ERROR}}
SCHEMAS: dict[str, Schema] = {"Problem": PROBLEM}

# What each status means, unless the operation says otherwise.
USUAL = {
    400: "The request does not match this document.",
    401: "The request is not authenticated.",
    403: "The request is not authenticated, or the permission is missing.",
    404: "Not found, or not visible to you.",
    406: "The response has none of the formats that `Accept` names.",
    409: "The `Idempotency-Key` came with another request before.",
    413: "The body is larger than the server accepts.",
    415: "The `Content-Type` is not JSON.",
    422: "The request matches this document, but its content is not valid.",
    429: "Too many requests in a short time.",
    503: "The store's database could not do this now. Send the request again after `Retry-After`.",
}


def meanings(
    operation: Operation,
    *,
    is_post: bool,
    has_body: bool,
    has_query: bool,
    has_cursor: bool,
    has_challenge: bool,
    is_throttled: bool,
) -> Mapping[int, str]:
    """The meanings of the operation's statuses from 400, in order."""
    possible = {
        400: is_post or has_body or has_query,
        401: has_challenge,
        403: True,
        404: True,
        406: True,
        409: is_post,
        413: is_post or has_body,
        415: has_body,
        422: has_cursor,
        429: is_throttled,
        503: True,
    }
    usual = {status: USUAL[status] for status, is_possible in possible.items() if is_possible}
    return dict(sorted({**usual, **operation.problems}.items()))


def response(status: int, meaning: str) -> Schema:
    """The response with this status, by reference if it has its usual meaning."""
    if meaning == USUAL.get(status):
        return {"$ref": f"#/components/responses/{_name(status)}"}
    return _response(status, meaning)


def _response(status: int, meaning: str) -> Schema:
    names = {429: ["Retry-After"], 503: ["Retry-After"], 401: ["WWW-Authenticate"]}.get(status, [])
    headers = {name: RESPONSE_HEADERS[name] for name in names}
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": meaning, "content": content, **({"headers": headers} if headers else {})}


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


RESPONSES: dict[str, Schema] = {_name(status): _response(status, meaning) for status, meaning in USUAL.items()}
