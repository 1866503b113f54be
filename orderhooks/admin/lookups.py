"""What a list's URL may filter by: an allow-list. Any other filter could count what its user may not see."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, IGNORED_PARAMS, PAGE_VAR, SEARCH_VAR, ChangeList
from django.db.models import CharField, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

__all__ = ["LastPageList", "ListedLookups"]

# A search looks each word up in each column; more than these is not a person's search.
MOST_WORDS = 10
MOST_CHARACTERS = 200
MOST_DIGITS = 18
# Of parameters that are refused.
MOST_NAMED = 10
LONGEST_NAME = 60


class LastPageList(ChangeList):
    """Shows the last page if the URL names one that is not there: the rows may have become fewer."""

    def get_results(self, request: HttpRequest) -> None:
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
            self.page_num = paginator.num_pages
            super().get_results(request)


def _drop_odd_keys(request: HttpRequest) -> None:
    """Of the rows that an action is for, leave out keys that none of our tables has: databases refuse some."""
    if ACTION_CHECKBOX_NAME not in request.POST:
        return
    fields = request.POST.copy()
    keys = fields.getlist(ACTION_CHECKBOX_NAME)
    known = [key for key in keys if key.isascii() and key.isdecimal() and len(key) <= MOST_DIGITS]
    if known != keys:
        fields.setlist(ACTION_CHECKBOX_NAME, known)
        request.POST = fields  # type: ignore[assignment]


def _is_too_large(text: str) -> bool:
    """Whether it is a number that no column takes, as Python reads numbers: "+1", " 1" and "1_0" are some too."""
    try:
        return len(str(abs(int(text)))) > MOST_DIGITS
    except ValueError:
        # No number, or one with more digits than Python reads: Django says itself that no row has it.
        return False


class ListedLookups(admin.ModelAdmin):
    """A ModelAdmin whose list takes the parameters of its own filters and of `linked_lookups`, and no others.

    Django's own rule lets any user of a list filter by every column of the table, also by those that only some may
    see: `?payload__customer__email__startswith=a` finds it out by the count.
    """

    # What links on our own pages filter by, besides the filters beside the list.
    linked_lookups: frozenset[str] = frozenset()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LastPageList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        columns, own = self._known_parameters(request)
        if lookup in columns:
            # The value goes to the database as it is: PostgreSQL refuses NUL, and no column takes such a number.
            text = str(value)
            is_text: bool = isinstance(self.opts.get_field(lookup.partition("__")[0]), CharField)
            return "\0" not in text and (is_text or not _is_too_large(text))
        return lookup in own

    def _known_parameters(self, request: HttpRequest | None) -> tuple[list[str], list[str]]:
        """Those that go to the database as they are, and those of filters with code of their own, which check their
        values.
        """
        filters = self.get_list_filter(request)  # type: ignore[arg-type]
        columns = [f"{one}__{ending}" for one in filters if isinstance(one, str) for ending in ("exact", "isnull")]
        own: list[str] = []
        for one in filters:
            if not isinstance(one, str):
                own += getattr(one, "parameters", ()) or [one.parameter_name]  # type: ignore[union-attr]
        return [*columns, *sorted(self.linked_lookups)], own

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        # Django's own method fails on a relation from another table.
        relations = {one.name for one in self.opts.related_objects}
        return to_field not in relations and super().to_field_allowed(request, to_field)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        _drop_odd_keys(request)
        try:
            response = super().changelist_view(request, extra_context)
        except DisallowedModelAdminLookup:
            return self._refuse(request)
        if response.status_code == 302 and response["location"].endswith(f"?{ERROR_FLAG}=1"):
            messages.error(
                request, _("No row can have the value that the URL names: this is the list without filters.")
            )
        return response

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Who may delete only is not led to the list.
        may_view = self.has_view_permission(request)
        return super().delete_view(request, object_id, {**(extra_context or {}), "may_view": may_view})

    def _refuse(self, request: HttpRequest) -> HttpResponse:
        """Django's own response to a lookup that is not allowed says nothing."""
        columns, own = self._known_parameters(request)
        known = [*own, *columns, *([SEARCH_VAR] if self.get_search_fields(request) else [])]
        refused = [
            name
            for name, values in request.GET.lists()
            if name not in (*IGNORED_PARAMS, PAGE_VAR, ERROR_FLAG)
            and not all(self.lookup_allowed(name, value, request) for value in values)
        ]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Unknown filter"),
            "unknown": [name[:LONGEST_NAME] for name in refused if name not in known][:MOST_NAMED],
            "impossible": [name for name in refused if name in known],
            "known": known,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/orderhooks/unknown_filter.html", context, status=400)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if len(search_term) > MOST_CHARACTERS or len(search_term.split()) > MOST_WORDS:
            text = _("Search for at most %(words)d words with %(characters)d characters together.")
            messages.warning(request, text % {"words": MOST_WORDS, "characters": MOST_CHARACTERS})
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)
