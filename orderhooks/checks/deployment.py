"""Checks of settings that are fine on a developer's machine and unsafe in production. For `check --deploy`."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from django.core.checks import CheckMessage, Warning

from orderhooks import conf
from orderhooks.checks.settings import check_settings

# The networks of this host itself, and of the metadata services of clouds.
HOST_NETWORKS = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10")))


def check_deployment(**_kwargs: Any) -> list[CheckMessage]:
    """REQUIRE_HTTPS must be on, and ALLOWED_NETWORKS must not open this host."""
    if not isinstance(conf.raw(), Mapping) or check_settings():
        return []  # check_settings reports the errors
    messages: list[CheckMessage] = []
    settings = conf.current()
    if not settings.require_https:
        messages.append(
            Warning(
                "ORDERHOOKS['REQUIRE_HTTPS'] is False: orders may be sent unencrypted.",
                hint="Remove it in production. Receivers in your network can have certificates of your own authority "
                "(CA_BUNDLE).",
                id="orderhooks.W051",
            )
        )
    allowed = [ip_network(text) for text in settings.allowed_networks]
    exposed = [
        str(one) for one in allowed if any(one.version == own.version and one.overlaps(own) for own in HOST_NETWORKS)
    ]
    if exposed:
        messages.append(
            Warning(
                f"ORDERHOOKS['ALLOWED_NETWORKS'] opens {', '.join(exposed)}: users who may add subscriptions can reach "
                "services of this host, or its cloud's metadata.",
                hint="Allow only the networks of your receivers, such as '10.20.0.0/16'.",
                id="orderhooks.W052",
            )
        )
    return messages
