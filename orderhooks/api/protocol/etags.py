"""ETags (RFC 9110, 8.8 and 13.1): a client changes what it has seen, and nothing that changed since."""

import hashlib
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request

from orderhooks.api.protocol.drf import Json
from orderhooks.api.protocol.problems import PreconditionFailedError

__all__ = ["etag_of", "is_known", "require_match"]


def etag_of(data: Any) -> str:
    """The strong ETag of what an answer shows, whatever format shows it."""
    return f'"{hashlib.sha256(Json().render(data)).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has it already: `If-None-Match`."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or any(one.removeprefix("W/") == etag for one in known)


def require_match(request: Request, etag: str) -> None:
    """Raises PreconditionFailedError if `If-Match` names another ETag."""
    if "If-Match" not in request.headers:
        return
    wanted = parse_etags(request.headers["If-Match"])
    if "*" not in wanted and etag not in wanted:
        raise PreconditionFailedError("It has changed since you read it. Read it again, then send the change anew.")
