"""Rate limits of actions that are expensive or send requests. The setting API_RATES has the limits."""

from ipaddress import IPv6Address, ip_address, ip_network

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from orderhooks import conf

__all__ = ["ActionThrottle"]


class ActionThrottle(SimpleRateThrottle):
    """Limits how often each user may call the actions of one scope, in addition to the project's own throttles.

    Requests without a user are counted by address. With `subscription`, the public id of one, requests are counted by
    it, from all addresses together. Counts are in the default cache. `scope` is a key of API_RATES.
    """

    cache_format = "orderhooks_rate_%(scope)s_%(kind)s_%(ident)s"

    def __init__(self, scope: str, *, subscription: str = "") -> None:
        self.scope = scope
        self.subscription = subscription
        super().__init__()

    def get_rate(self) -> str | None:
        return {**conf.API_RATES, **conf.current().api_rates}[self.scope or ""]

    def get_cache_key(self, request, view):  # type: ignore[no-untyped-def]
        kind, ident = self._counted_by(request)
        return self.cache_format % {"scope": self.scope, "kind": kind, "ident": ident}

    def get_ident(self, request: Request) -> str:
        """The address that the request came from; of an IPv6 address its network, the first 64 bits.

        Without NUM_PROXIES, DRF takes all of `X-Forwarded-For`, which clients write: each value would count anew.
        """
        if api_settings.NUM_PROXIES is None:
            address = str(request.META.get("REMOTE_ADDR", ""))
        else:
            address = str(super().get_ident(request))
        return _network_of(address)

    def _counted_by(self, request: Request) -> tuple[str, object]:
        if self.subscription:
            return "subscription", self.subscription
        if getattr(request.user, "is_authenticated", False):
            return "user", request.user.pk
        return "address", self.get_ident(request)


def _network_of(address: str) -> str:
    """RFC 4291, 2.5.4: a host chooses the last 64 bits of its IPv6 address by itself."""
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
