"""The decorator `webhook`: which requests reach a view, and what the sender and the log are told of the others."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views.debug import ExceptionReporter

from orderhooks.receiver import ReceivedEvent, webhook
from tests.signed_webhooks import BODY, OTHER, SECRET, Handler, request_of, signed


@webhook(SECRET)
def numbered(request: HttpRequest, event: ReceivedEvent, number: int) -> HttpResponse:
    return HttpResponse(f"{number} {event.topic}")


urlpatterns = [path("hooks/<int:number>/", numbered)]


@pytest.mark.urls(__name__)
def test_a_view_needs_no_csrf_token_and_gets_its_own_arguments() -> None:
    headers = signed(at=int(datetime.now(UTC).timestamp()))

    response = Client(enforce_csrf_checks=True).post(
        "/hooks/5/", BODY, content_type="application/json", headers=headers
    )

    assert (response.status_code, response.content) == (200, b"5 order.paid")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_let_in(method: str) -> None:
    handler = Handler()

    response = webhook(SECRET)(handler)(request_of(method=method))

    assert (response.status_code, response["allow"], handler.events) == (405, "POST", [])


def test_a_forged_request_gets_401_a_reason_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()

    with caplog.at_level(logging.WARNING, logger="orderhooks.receiver"):
        response = webhook(SECRET)(handler)(request_of(secrets=[OTHER]))

    assert isinstance(response, HttpResponse)
    assert response.status_code == 401
    assert "No signature matches" in json.loads(response.content)["error"]
    assert "/hooks/" in caplog.text
    assert "No signature matches" in caplog.text
    assert SECRET not in caplog.text
    assert handler.events == []


def test_a_view_that_returns_nothing_responds_204() -> None:
    assert webhook(SECRET)(Handler())(request_of()).status_code == 204


def test_a_callable_returns_the_secret_for_each_request() -> None:
    current = [OTHER]
    endpoint = webhook(lambda: current)(Handler())

    assert endpoint(request_of()).status_code == 401
    current.append(SECRET)
    assert endpoint(request_of()).status_code == 204


@pytest.mark.parametrize("secret", ["", [], lambda: None, "whsec_short"])
def test_a_receiver_without_a_secret_lets_nothing_in_and_says_so_in_its_log(
    secret: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()

    response = webhook(secret)(handler)(request_of())

    assert response.status_code == 500
    assert "cannot verify webhooks at /hooks/" in caplog.text
    assert handler.events == []


def test_a_view_that_returns_something_else_raises() -> None:
    with pytest.raises(TypeError, match="HttpResponse or None, not dict"):
        webhook(SECRET)(Handler({"ok": True}))(request_of())


def test_the_error_report_of_a_failing_view_holds_no_secret() -> None:
    request = request_of()
    try:
        webhook([SECRET], deduplicate=None)(Handler(RuntimeError("no")))(request)
    except RuntimeError as error:
        report = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "RuntimeError" in report
    assert SECRET.removeprefix("whsec_")[:20] not in report
