"""Rates: how often a user may have the API do what costs requests or work. The setting API_RATES says how often."""

from rest_framework.throttling import SimpleRateThrottle

from orderhooks import conf

__all__ = ["Rate"]


class Rate(SimpleRateThrottle):
    """One kind of action's own limit for each user, beside the throttles of the project. In the default cache."""

    cache_format = "orderhooks_rate_%(scope)s_%(ident)s"

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__()

    def get_rate(self) -> str | None:
        return {**conf.API_RATES, **conf.current().api_rates}[self.scope or ""]

    def get_cache_key(self, request, view):  # type: ignore[no-untyped-def]
        ident = request.user.pk if getattr(request.user, "is_authenticated", False) else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}
