"""The problems that an operation may answer with: which, and what they mean."""

from collections.abc import Mapping
from http import HTTPStatus

from orderhooks.api.openapi.describing import Operation, Schema, object_of
from orderhooks.api.openapi.parameters import ANSWERED
from orderhooks.api.protocol import problems

__all__ = ["COMPONENTS", "RESPONSES", "meanings", "response"]

ERROR: Schema = {
    **object_of(detail={"type": "string"}, code={"type": "string", "description": "For programs."}),
    "description": "Where the request is wrong.",
}
ERROR["properties"] |= {
    "pointer": {"type": "string", "description": "Into the body (RFC 6901)."},
    "parameter": {"type": "string", "description": "Of the query."},
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
COMPONENTS: dict[str, Schema] = {"Problem": PROBLEM}

REUSED = "The `Idempotency-Key` came with another request within the last 24 hours."
# What each status means, if the operation does not say.
USUAL = {
    400: "The request is not of the form that this document asks for.",
    401: "Nobody is logged in.",
    403: "Nobody is logged in, or the permission is missing.",
    404: "There is nothing here that you may see.",
    406: "The answer comes in none of the formats that `Accept` names.",
    409: REUSED,
    413: "The body is larger than the server takes.",
    415: "The body is no JSON by its `Content-Type`.",
    422: "The request is of the right form, and refused for what it says.",
    429: "Too many of them in a short time.",
}


def meanings(
    operation: Operation, *, posts: bool, reads_body: bool, reads_query: bool, pages: bool, logs_in: bool, rated: bool
) -> Mapping[int, str]:
    """What statuses there are, in order."""
    there = {
        400: posts or reads_body or reads_query,
        401: logs_in,
        403: True,
        404: True,
        406: True,
        409: posts,
        413: posts or reads_body,
        415: reads_body,
        422: pages,
        429: rated,
    }
    found = {status: USUAL[status] for status, is_there in there.items() if is_there}
    return dict(sorted({**found, **operation.problems}.items()))


def response(status: int, text: str) -> Schema:
    """How the document tells of a problem."""
    return {"$ref": f"#/components/responses/{_name(status)}"} if text == USUAL.get(status) else _told(status, text)


def _told(status: int, text: str) -> Schema:
    headers = {name: ANSWERED[name] for name in {429: ["Retry-After"], 401: ["WWW-Authenticate"]}.get(status, [])}
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content, **({"headers": headers} if headers else {})}


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


RESPONSES: dict[str, Schema] = {_name(status): _told(status, text) for status, text in USUAL.items()}
