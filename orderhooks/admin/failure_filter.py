"""The filter of the delivery log by the kind of the last failure. One with a status is found by the response."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from orderhooks.admin.filters import CountedFilter, Rows

__all__ = ["FailureFilter"]

# None has a valid response, so that `answered(0)` finds them.
KINDS = {
    "timeout": gettext_lazy("no response in time"),
    "connect_timeout": gettext_lazy("not reached in time"),
    "refused": gettext_lazy("connection refused"),
    "reset": gettext_lazy("connection broken off"),
    "dns": gettext_lazy("host name not found"),
    "tls": gettext_lazy("TLS"),
    "blocked": gettext_lazy("address not allowed"),
    "protocol": gettext_lazy("response not valid HTTP"),
    "too_large": gettext_lazy("response too large"),
    "payload": gettext_lazy("payload"),
    "filter": gettext_lazy("filter"),
    "projection": gettext_lazy("projection"),
    "key": gettext_lazy("missing key"),
    "secret": gettext_lazy("missing secret"),
    "format": gettext_lazy("format"),
    "version": gettext_lazy("version"),
    "login": gettext_lazy("login"),
    "handshake": gettext_lazy("handshake"),
    "internal": gettext_lazy("error on our side"),
}


class FailureFilter(CountedFilter):
    """Without counts: no index has the kind."""

    title = gettext_lazy("kind of failure")
    parameter_name = "failure"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(kind, str(label)) for kind, label in KINDS.items()]

    def rows(self, queryset: Any, value: str) -> Rows:
        # By the index of those without a response first.
        found: Rows = queryset.answered(0).filter(last_error=value)
        return found

    def counts(self, changelist: Any) -> dict[str, str]:
        return {}
