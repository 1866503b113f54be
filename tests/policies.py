"""Middleware of the tests: the strictest policy of contents that a store may have."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def strict(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Nothing inline and nothing from elsewhere, unless the page says so: browsers refuse it, and say so."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("content-security-policy", "default-src 'self'")
        return response

    return answer
