"""Problem details (RFC 9457): the body of every answer from 400 on, as `application/problem+json`.

400 is a request that is not of the form that the document asks for; 422 one that is, and is refused for what it says.

`code` is for programs; `errors` tells where the request is wrong: at a `pointer` into its body (RFC 6901) or in a query
`parameter`.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.signals import got_request_exception
from django.utils.log import log_response
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

__all__ = ["MEDIA_TYPE", "ConflictError", "ParameterError", "PreconditionFailedError", "answer"]

MEDIA_TYPE = "application/problem+json"
# How many errors `detail` tells in words.
TOLD = 3
# Codes of errors in what is of the form that the document asks for: 422. The others are of form: 400.
REFUSED = frozenset(
    "amount clash currency cursor deep email headers json line number overflow range store taken topic topics "
    "unknown url whitespace".split()
)


class ConflictError(APIException):
    """The request makes no sense as things are."""

    status_code = HTTPStatus.CONFLICT
    default_code = "conflict"


class PreconditionFailedError(APIException):
    """Something has changed since the client looked."""

    status_code = HTTPStatus.PRECONDITION_FAILED
    default_code = "precondition_failed"


class TooLargeError(APIException):
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than the setting DATA_UPLOAD_MAX_MEMORY_SIZE allows. Send less at once."
    default_code = "too_large"


class ParameterError(ValidationError):
    """Query parameters that say nothing: {"state": ["…"]}."""


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """What a view answers to an error; None leaves it to Django's debug page."""
    if isinstance(error, RequestDataTooBig):
        error = TooLargeError()
    response = exception_handler(error, context)
    if response is None:
        return None if settings.DEBUG else _unexpected(error, context)
    detail = getattr(error, "detail", None)
    errors = list(_errors(error)) if isinstance(error, ValidationError) else []
    if errors:
        text, code = _in_words(errors), "invalid"
        if all(one["code"] in REFUSED for one in errors):
            response.status_code, code = HTTPStatus.UNPROCESSABLE_ENTITY, "refused"
    else:
        detail = detail if isinstance(detail, ErrorDetail) else ErrorDetail(str(response.data["detail"]), "error")
        text, code = str(detail), str(detail.code)
    response.data = describe(response.status_code, text, code=code, errors=errors)
    return response


def describe(status: int, detail: str, *, code: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The members of a problem. Its type is the status: what there is to tell beside it is in `code`."""
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
            # What is wrong with the whole stands at the whole.
            is_whole = name == api_settings.NON_FIELD_ERRORS_KEY and _is_flat(inner)
            yield from _leaves(inner, path if is_whole else (*path, str(name)))
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            yield from _leaves(inner, path if isinstance(inner, ErrorDetail) else (*path, str(number)))
    else:
        yield path, detail


def _is_flat(detail: Any) -> bool:
    # A project may give the key a name that a field has.
    return isinstance(detail, list) and all(isinstance(one, ErrorDetail) for one in detail)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _in_words(errors: list[dict[str, str]]) -> str:
    told = [f"{one.get('pointer', one.get('parameter', '')).strip('/')}: {one['detail']}" for one in errors[:TOLD]]
    more = [f"and {len(errors) - TOLD} more, see errors."] if len(errors) > TOLD else []
    return " ".join(text.removeprefix(": ") for text in [*told, *more])


def _unexpected(error: Exception, context: dict[str, Any]) -> Response:
    # As Django does it for a view that raises: those who watch over the store are told.
    request = context["request"]._request
    got_request_exception.send(sender=None, request=request)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    text = "Something went wrong on our side. It is in the store's log; try again later."
    response = Response(describe(status, text, code="internal"), status=status)
    log_response("%s: %s", status.phrase, request.path, response=response, request=request, exception=error)
    return response
