"""Unpublished events: those whose payload could not be built, so that they wait for a person."""

from collections.abc import Collection

from django.utils.translation import ngettext

from orderhooks.models import Event
from orderhooks.reporting.counts import count_text

__all__ = ["unpublished_problems", "unpublished_text"]


def unpublished_problems(*, stores: Collection[str] | None = None) -> list[str]:
    """A sentence if there are any, of these stores or with None of all. One query."""
    count = Event.objects.of_stores(stores).unpublished().count()
    return [unpublished_text(count)] if count else []


def unpublished_text(count: int) -> str:
    """How many there are, and what to do."""
    text = ngettext(
        "%(count)s event has no payload. See its error in the admin, fix the source, and publish it again.",
        "%(count)s events have no payload. See their errors in the admin, fix the source, and publish them again.",
        count,
    )
    return text % {"count": count_text(count)}
