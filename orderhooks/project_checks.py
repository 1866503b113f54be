"""System checks of the project's own settings: databases, time zone, mail, queue. Registered by `apps`."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning
from django.core.checks import register as register_check


def register() -> None:
    """Called once, by `apps`."""
    register_check(check_mail, Tags.compatibility)


def check_mail(**_kwargs: Any) -> list[CheckMessage]:
    """Django 6.1: a project that has moved to MAILERS has a default one, which the e-mails about endpoints go by."""
    mailers = getattr(settings, "MAILERS", None)
    if mailers is None or "default" in mailers:
        return []
    return [
        Warning(
            "MAILERS has no 'default': nobody would get the e-mails about endpoints that fail.",
            hint='Set MAILERS["default"]; to send no e-mails, give it Django\'s dummy backend.',
            id="orderhooks.W064",
        )
    ]
