"""Every kind of view as an endpoint of webhooks: functions and classes of views, async ones too."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from orderhooks import signing
from orderhooks.models import Receipt
from orderhooks.receiver import (
    CacheDeduplicator,
    CacheSequenceGuard,
    DatabaseDeduplicator,
    DatabaseSequenceGuard,
    ReceivedEvent,
    webhook,
)
from orderhooks.testing import signed_request

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = signing.generate_secret()
Decorator = Callable[[Any], Any]
Answer = HttpResponse | None
acted: list[tuple[str, int]] = []


def act(request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
    acted.append((event.topic, number))
    if event.data["order"]["note"] == "fail":
        # What was written before is taken back with the receipt.
        Receipt.objects.create(receiver="the view", webhook_id=event.id)
        raise ValueError("The view fails.")
    return HttpResponse(status=202)


def function(decorate: Decorator) -> Any:
    return decorate(act)


def async_function(decorate: Decorator) -> Any:
    @decorate
    async def view(request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
        await asyncio.sleep(0)
        if event.data["order"]["note"] == "fail":
            await Receipt.objects.acreate(receiver="the view", webhook_id=event.id)
            raise ValueError("The view fails.")
        acted.append((event.topic, number))
        return None

    return view


def class_of_views(decorate: Decorator) -> Any:
    @decorate
    class Endpoint(View):
        def post(self, request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
            return act(request, event, number)

    return Endpoint.as_view()


def decorated_dispatch(decorate: Decorator) -> Any:
    @method_decorator(decorate, name="dispatch")
    class Endpoint(View):
        def post(self, request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
            return act(request, event, number)

    return Endpoint.as_view()


def class_of_async_views(decorate: Decorator) -> Any:
    @decorate
    class Endpoint(View):
        async def post(self, request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
            await asyncio.sleep(0)
            return act(request, event, number)

    return Endpoint.as_view()


def around_as_view(decorate: Decorator) -> Any:
    class Endpoint(View):
        async def post(self, request: HttpRequest, event: ReceivedEvent, number: int) -> Answer:
            return act(request, event, number)

    return decorate(Endpoint.as_view())


KINDS = [function, async_function, class_of_views, decorated_dispatch, class_of_async_views, around_as_view]
GUARDS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "no guards": dict,
    "database": lambda: {"deduplicate": DatabaseDeduplicator("views"), "skip_stale": DatabaseSequenceGuard("views")},
    "cache": lambda: {"deduplicate": CacheDeduplicator("views"), "skip_stale": CacheSequenceGuard("views")},
}


class Urls:
    """An URLconf that a test fills."""

    urlpatterns: list[Any] = []


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def endpoint(request, settings, monkeypatch) -> Callable[..., str]:
    """Mounts an endpoint of that kind, behind a middleware that needs a login; its URL."""
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings.ROOT_URLCONF = Urls
    acted.clear()
    cache.clear()

    def mount(**options: Any) -> str:
        monkeypatch.setattr(
            Urls, "urlpatterns", [path("hooks/<int:number>/", request.param(webhook(SECRET, **options)))]
        )
        return "/hooks/7/"

    return mount


def post(url: str, *, server: str, secret: str = SECRET, **options: Any) -> int:
    """POST a signed request as a WSGI or an ASGI server would hand it on; the status."""
    arguments = signed_request(secret, **options).for_client()
    if server == "wsgi":
        return Client(enforce_csrf_checks=True, raise_request_exception=False).post(url, **arguments).status_code
    client = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
    return async_to_sync(client.post)(url, **arguments).status_code


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("guards", GUARDS)
def test_any_kind_of_view_takes_what_was_signed_and_needs_no_login(endpoint, guards: str, server: str) -> None:
    url = endpoint(**GUARDS[guards]())
    name = f"evt_{guards[:2]}{server}"
    assert post(url, server=server, event_id=name, sequence=5) in (202, 204)
    assert acted == [("order.paid", 7)]
    assert post(url, server=server, secret=signing.generate_secret()) == 401
    # The guards respond to a duplicate and to an older event.
    post(url, server=server, event_id=name, sequence=5)
    post(url, server=server, sequence=4)
    assert len(acted) == (3 if guards == "no guards" else 1)


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_what_a_view_that_fails_has_written_goes_with_the_receipt(endpoint, server: str) -> None:
    url = endpoint(deduplicate=DatabaseDeduplicator("views"))
    assert post(url, server=server, event_id="evt_1", order={"note": "fail"}) == 500
    assert Receipt.objects.count() == 0
    assert post(url, server=server, event_id="evt_1", order={"note": ""}) in (202, 204)
    assert Receipt.objects.get().receiver == "views"


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_only_post_is_let_in_without_a_login(endpoint, server: str) -> None:
    url = endpoint()
    if server == "wsgi":
        assert Client().get(url).status_code == 405
    else:
        assert async_to_sync(AsyncClient().get)(url).status_code == 405


def test_an_async_view_that_returns_something_else_raises(rf) -> None:
    @webhook(SECRET)
    async def view(request: HttpRequest, event: ReceivedEvent) -> Any:
        return "done"

    request = signed_request(SECRET)
    with pytest.raises(TypeError, match="must return an HttpResponse or None, not str"):
        async_to_sync(view)(rf.post("/", request.body, "application/json", headers=request.headers))
