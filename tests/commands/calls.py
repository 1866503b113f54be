"""Calling a command as a user would, and what it printed."""

import io

from django.core.management import call_command


def called(name: str, *arguments: object, **options: object) -> str:
    """What the command printed, errors but for CommandError included."""
    out = io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, stderr=out, **options)
    return out.getvalue()
