"""Deployment: what is right on a developer's machine and unsafe in production. For `check --deploy`."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from django.core.checks import CheckMessage, Warning

from orderhooks import conf
from orderhooks.checks.settings import check_settings

# Networks that hold what is nobody else's business: the host itself, and what clouds tell a machine about itself.
OWN = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10")))


def check_deployment(**_kwargs: Any) -> list[CheckMessage]:
    """Only https leaves the house, and no subscription leads into it."""
    if not isinstance(conf.raw(), Mapping) or check_settings():
        return []  # told already
    messages: list[CheckMessage] = []
    settings = conf.current()
    if not settings.require_https:
        messages.append(
            Warning(
                "ORDERHOOKS['REQUIRE_HTTPS'] is False: orders may be sent unencrypted.",
                hint="Leave it out in production; receivers inside your network can have certificates of your own "
                "(CA_BUNDLE).",
                id="orderhooks.W051",
            )
        )
    allowed = [ip_network(text) for text in settings.allowed_networks]
    near = [str(one) for one in allowed if any(one.version == own.version and one.overlaps(own) for own in OWN)]
    if near:
        messages.append(
            Warning(
                f"ORDERHOOKS['ALLOWED_NETWORKS'] opens {', '.join(near)}: whoever may add a subscription can reach "
                "services of this host, or its cloud's metadata.",
                hint="Name only the networks in which receivers are, such as '10.20.0.0/16'.",
                id="orderhooks.W052",
            )
        )
    return messages
