"""What a user of an order's pages may not see of its rows: in its history, and in the list of what a deletion takes."""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest, HttpResponse
from django.utils import translation

__all__ = ["WithheldRows"]

WITHHELD = "…"
VERBS = ("added", "changed", "deleted")


class WithheldRows(admin.ModelAdmin):
    """A mixin for an admin whose inlines each need a permission to view.

    The name of a payment is its amount, and Django writes the names of rows into the history of their order and lists
    them before the order is deleted.
    """

    def hidden_rows(self, request: HttpRequest) -> set[str]:
        """The names of the kinds of rows that the user may not view, as the history names them."""
        inlines = [inline(self.model, self.admin_site) for inline in self.inlines]
        return {
            str(inline.opts.verbose_name) for inline in inlines if not inline.has_view_or_change_permission(request)
        }

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None) or {}
        # Django writes the history in the language of the code.
        with translation.override(None):
            hidden = self.hidden_rows(request)
        if hidden and (page := context.get("action_list")):
            page.object_list = [_without_names(entry, hidden) for entry in page.object_list]
        return response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, missing, protected = super().get_deleted_objects(objs, request)
        if self.hidden_rows(request) or not self.has_view_permission(request):
            # The summary above the list has the counts.
            names = [str(one) for one in objs]
        return names, counts, missing, protected


def _without_names(entry: LogEntry, hidden: Iterable[str]) -> LogEntry:
    """The entry, in memory, without the names of rows of hidden kinds."""
    try:
        changes = json.loads(entry.change_message)
    except ValueError:
        return entry  # a sentence of ours, which names no row
    for change in changes if isinstance(changes, list) else []:
        for verb in VERBS:
            if change.get(verb, {}).get("name") in hidden:
                change[verb]["object"] = WITHHELD
    entry.change_message = json.dumps(changes)
    return entry
