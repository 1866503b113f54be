"""Rate limits of actions that are expensive or send requests. The setting API_RATES has the limits."""

from rest_framework.throttling import SimpleRateThrottle

from orderhooks import conf

__all__ = ["ActionThrottle"]


class ActionThrottle(SimpleRateThrottle):
    """Limits how often each user may call the actions of one scope, in addition to the project's own throttles.

    Counts are in the default cache. `scope` is a key of API_RATES.
    """

    cache_format = "orderhooks_rate_%(scope)s_%(ident)s"

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__()

    def get_rate(self) -> str | None:
        return {**conf.API_RATES, **conf.current().api_rates}[self.scope or ""]

    def get_cache_key(self, request, view):  # type: ignore[no-untyped-def]
        ident = request.user.pk if getattr(request.user, "is_authenticated", False) else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}
