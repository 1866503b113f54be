"""Problem details (RFC 9457): the body of every response with a status from 400, as `application/problem+json`.

400: the request does not match the OpenAPI document. 422: it does, but its content is not valid, such as an unknown
topic.

`code` is for programs. `errors` says where the request is wrong: at a `pointer` into the body (RFC 6901), or in a query
`parameter`.
"""

import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.utils.log import log_response
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from orderhooks.db.transient_errors import is_transient

__all__ = ["MEDIA_TYPE", "ConflictError", "ParameterError", "PreconditionFailedError", "exception_response"]

MEDIA_TYPE = "application/problem+json"
# How many errors `detail` contains. `errors` has all of them.
MAX_IN_DETAIL = 3
# After an error of the database that passes by itself, such as a lock.
RETRY_AFTER_SECONDS = 5
# Codes of errors in requests that match the OpenAPI document. If a request has only such errors, it is a 422.
UNPROCESSABLE_CODES = frozenset(
    "amount api_version authentication certificate changed_fields clash currency cursor deep email expression format "
    "headers json line login name number operational overflow range store taken topic topics unknown url "
    "whitespace".split()
)


class ConflictError(APIException):
    """409: the request is not possible in the current state of the row."""

    status_code = HTTPStatus.CONFLICT
    default_code = "conflict"


class PreconditionFailedError(APIException):
    """412: the row has changed since the client read it."""

    status_code = HTTPStatus.PRECONDITION_FAILED
    default_code = "precondition_failed"


class SuspiciousError(APIException):
    """400: Django refuses the request, such as one with a `Host` that is not in ALLOWED_HOSTS."""

    status_code = HTTPStatus.BAD_REQUEST
    default_detail = "The request is refused: a part of it, such as the header Host, is not valid here."
    default_code = "suspicious"


class TooLargeError(APIException):
    """413: the body is larger than Django accepts."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than the setting DATA_UPLOAD_MAX_MEMORY_SIZE allows. Send a smaller one."
    default_code = "too_large"


class ParameterError(ValidationError):
    """400 or 422: invalid query parameters. Its argument has the errors by parameter: {"state": ["…"]}."""


def exception_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """The response to an error that a view raised, as DRF's EXCEPTION_HANDLER. None shows Django's debug page."""
    if isinstance(error, RequestDataTooBig):
        error = TooLargeError()
    elif isinstance(error, SuspiciousOperation):
        _log_suspicious(error, context)
        error = SuspiciousError()
    response = exception_handler(error, context)
    if response is None:
        return None if settings.DEBUG else _unexpected(error, context)
    detail = getattr(error, "detail", None)
    errors = list(_errors(error)) if isinstance(error, ValidationError) else []
    if errors:
        text, code = _detail_of(errors), "invalid"
        if all(one["code"] in UNPROCESSABLE_CODES for one in errors):
            response.status_code, code = HTTPStatus.UNPROCESSABLE_ENTITY, "refused"
    else:
        detail = detail if isinstance(detail, ErrorDetail) else ErrorDetail(str(response.data["detail"]), "error")
        text, code = str(detail), str(detail.code)
    response.data = problem_of(response.status_code, text, code=code, errors=errors)
    return response


def problem_of(status: int, detail: str, *, code: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The body of a problem. Its `type` is "about:blank", because `status` and `code` say all there is."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
    }
    return {**problem, "errors": errors} if errors else problem


def _errors(error: ValidationError) -> Iterator[dict[str, str]]:
    for path, detail in _leaves(error.detail, ()):
        if isinstance(error, ParameterError):
            place = {"parameter": path[0] if path else ""}
        else:
            place = {"pointer": "".join(f"/{_escaped(step)}" for step in path)}
        yield {**place, "detail": str(detail), "code": str(detail.code)}


def _leaves(detail: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ErrorDetail]]:
    if isinstance(detail, dict):
        for name, inner in detail.items():
            # Errors of the whole object are at the object's own pointer.
            is_whole = name == api_settings.NON_FIELD_ERRORS_KEY and _is_flat(inner)
            yield from _leaves(inner, path if is_whole else (*path, str(name)))
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            yield from _leaves(inner, path if isinstance(inner, ErrorDetail) else (*path, str(number)))
    else:
        yield path, detail


def _is_flat(detail: Any) -> bool:
    # A project may set NON_FIELD_ERRORS_KEY to the name of a field.
    return isinstance(detail, list) and all(isinstance(one, ErrorDetail) for one in detail)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _detail_of(errors: list[dict[str, str]]) -> str:
    texts = [
        f"{one.get('pointer', one.get('parameter', '')).strip('/')}: {one['detail']}" for one in errors[:MAX_IN_DETAIL]
    ]
    more = [f"and {len(errors) - MAX_IN_DETAIL} more, see errors."] if len(errors) > MAX_IN_DETAIL else []
    return " ".join(text.removeprefix(": ") for text in [*texts, *more])


def _log_suspicious(error: SuspiciousOperation, context: dict[str, Any]) -> None:
    # To the logger of Django, which projects watch.
    logger = logging.getLogger(f"django.security.{type(error).__name__}")
    logger.error(str(error), exc_info=error, extra={"status_code": 400, "request": context["request"]._request})


def _unexpected(error: Exception, context: dict[str, Any]) -> Response:
    # As Django does for a view that raises, so that error reporting works.
    request = context["request"]._request
    got_request_exception.send(sender=None, request=request)
    if is_transient(error):
        status, code, headers = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", {"Retry-After": str(RETRY_AFTER_SECONDS)}
        text = "The store's database could not do this now. Send the request again after `Retry-After`."
    else:
        status, code, headers = HTTPStatus.INTERNAL_SERVER_ERROR, "internal", {}
        text = "An internal error occurred. It is in the store's log. Try again later."
    response = Response(problem_of(status, text, code=code), status=status, headers=headers)
    log_response("%s: %s", status.phrase, request.path, response=response, request=request, exception=error)
    return response
