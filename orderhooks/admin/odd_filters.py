"""What a list's URL filters by and no row can have: said on the page, which would otherwise be empty without a word."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from orderhooks.admin.filters import CountedFilter, SinceFilter, UntilFilter

__all__ = ["warn_of_odd_filters"]

LONGEST_VALUE = 60


def warn_of_odd_filters(request: HttpRequest, response: HttpResponse) -> None:
    """Messages on the page of a list with these filters, before it is drawn."""
    changelist = (getattr(response, "context_data", None) or {}).get("cl")
    for text in _faults(getattr(changelist, "filter_specs", ())):
        messages.error(request, text)


def _faults(filters: Any) -> Iterator[str]:
    since = until = None
    for one in filters:
        if isinstance(one, UntilFilter):
            until = one.at
        elif isinstance(one, SinceFilter):
            # It says itself what is no time.
            span = one.spans.get(one.value() or "")
            since = one.now - span[0] if span else one.at
        elif isinstance(one, CountedFilter) and (value := one.value()) and not one.is_known(value):
            yield _("“%(value)s” is not a choice of the filter “%(title)s”: no row is shown.") % {
                "value": value[:LONGEST_VALUE],
                "title": one.title,
            }
    if since and until and since >= until:
        yield _("“Since” is later than “Until”: no row is shown. Exchange the two, or leave one blank.")
