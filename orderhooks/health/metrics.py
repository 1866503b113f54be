"""Metrics: the view that Prometheus scrapes, for a bearer of METRICS_TOKEN or a user who may see it."""

import hmac
from typing import Any

from django.http import HttpRequest, HttpResponse

from orderhooks import conf, permissions
from orderhooks.health.looks import Look
from orderhooks.health.measures import measure
from orderhooks.health.probes import BROKER, for_programs
from orderhooks.stores import order_stores_of

__all__ = ["MEASURES", "metrics"]

INSTALL = "The metrics need prometheus-client: python -m pip install 'orderhooks[metrics]'\n"
UNAUTHORIZED = "Give the header Authorization: Bearer and the setting METRICS_TOKEN, or log in.\n"
FORBIDDEN = "You need the permission to view deliveries, of all stores.\n"
UNAVAILABLE = "The database failed or did not respond in time; see the log.\n"

# Prometheus waits ten seconds in all, and an alarm must not come of a broker that is slow.
BROKER_SECONDS = 2.0
# Several servers that scrape at the same time share a look.
MEASURES = Look("metrics", measure, wait_seconds=7.0, fresh_seconds=1.0)


@for_programs
def metrics(request: HttpRequest) -> HttpResponse:
    """200 with the metrics, in the text format or as OpenMetrics; 503 if the database fails, so that `up` is 0."""
    if refused := _refused(request):
        return refused
    try:
        from orderhooks.health.exposition import exposed
    except ImportError:
        return _text(INSTALL, 501)
    found = MEASURES.found()
    if found is None:
        return _text(UNAVAILABLE, 503)
    accept = request.headers.get("Accept", "")
    broker_is_up = bool(BROKER.found(wait_seconds=BROKER_SECONDS))
    body, content_type = exposed(found, broker_is_up=broker_is_up, accept=accept)
    return HttpResponse(body, content_type=content_type, headers={"cache-control": "no-store", "vary": "accept"})


def _refused(request: HttpRequest) -> HttpResponse | None:
    """The response to a request without a right to see them. Who sends a wrong token costs no query."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = conf.current().metrics_token
        same = hmac.compare_digest(given.strip().encode(), token.encode())
        return None if token and same else _unauthorized()
    user: Any = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return _unauthorized()
    # The numbers are of all stores.
    may_see = user.has_perm(permissions.VIEW_DELIVERY) and order_stores_of(user) is None
    return None if may_see else _text(FORBIDDEN, 403)


def _unauthorized() -> HttpResponse:
    response = _text(UNAUTHORIZED, 401)
    response["WWW-Authenticate"] = 'Bearer realm="orderhooks"'
    return response


def _text(text: str, status: int) -> HttpResponse:
    response = HttpResponse(text, status=status, content_type="text/plain", headers={"cache-control": "no-store"})
    # As in `probes`: a scrape that fails is no error in the log, nor a mail.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
