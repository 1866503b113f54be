"""ETags (RFC 9110, 8.8 and 13.1): a client changes only the version that it has read."""

import hashlib
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request

from orderhooks.api.protocol.drf import ApiRenderer
from orderhooks.api.protocol.problems import PreconditionFailedError

__all__ = ["etag_of", "is_known", "require_match"]


def etag_of(data: Any) -> str:
    """The strong ETag of a response's data. It is the same in every format."""
    return f'"{hashlib.sha256(ApiRenderer().render(data)).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this ETag: the client has this version already."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or any(one.removeprefix("W/") == etag for one in known)


def require_match(request: Request, etag: str) -> None:
    """Raises PreconditionFailedError if the request has `If-Match` and it does not name this ETag."""
    if "If-Match" not in request.headers:
        return
    expected = parse_etags(request.headers["If-Match"])
    if "*" not in expected and etag not in expected:
        raise PreconditionFailedError("It has changed since you read it. Read it again, then send the change again.")
