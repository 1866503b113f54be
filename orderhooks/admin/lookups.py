"""What a list can be asked by its address: an allow-list. Anything else could count what its user may not see."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

__all__ = ["ListedLookups"]

# A search looks each word up in each column; more than these is not a person's search.
MOST_WORDS = 10
MOST_CHARACTERS = 200
MOST_DIGITS = 18


class ListedLookups(admin.ModelAdmin):
    """A ModelAdmin whose list takes the parameters of its own filters and of `linked_lookups`, and no others.

    Django's own rule lets any user of a list filter by every column of the table, also by those that only some may
    see: `?payload__customer__email__startswith=a` tells by the count.
    """

    # What links on our own pages filter by, besides the filters beside the list.
    linked_lookups: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        filters = self.get_list_filter(request)  # type: ignore[arg-type]
        columns = {f"{one}__{ending}" for one in filters if isinstance(one, str) for ending in ("exact", "isnull")}
        if lookup in self.linked_lookups | columns:
            # The value goes to the database as it is: PostgreSQL refuses NUL, and no column takes such a number.
            text = str(value)
            return "\0" not in text and not (text.isdecimal() and len(text) > MOST_DIGITS)
        return any(lookup in self._parameters(one) for one in filters if not isinstance(one, str))

    @staticmethod
    def _parameters(listed: Any) -> set[str]:
        """What a filter with code of its own is asked by; it knows its values."""
        return set(getattr(listed, "parameters", ()) or {listed.parameter_name})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if len(search_term) > MOST_CHARACTERS or len(search_term.split()) > MOST_WORDS:
            text = _("Search for at most %(words)d words with %(characters)d characters together.")
            messages.warning(request, text % {"words": MOST_WORDS, "characters": MOST_CHARACTERS})
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)
