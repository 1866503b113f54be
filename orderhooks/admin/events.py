"""Events: what happened, as it was told. Read-only but for publishing those again that could not be told."""

import json
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import publishing, topics
from orderhooks.models import Event


class TopicFilter(admin.SimpleListFilter):
    title = _("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        # From the catalogue: to ask the table for its topics is to read all of it.
        return [(name, name) for name in topics.catalogue()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(topic=self.value()) if self.value() else queryset


class PublishedFilter(admin.SimpleListFilter):
    title = _("published")
    parameter_name = "published"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No: there was an error"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "yes":
                return queryset.filter(published_at__isnull=False)
            case "no":
                return queryset.filter(published_at=None)
        return queryset


FIELDS = (
    "public_id",
    "topic",
    "sequence",
    "order_number",
    "store",
    "source",
    "occurred_at",
    "published_at",
    "error",
    "deliveries",
    "changes_text",
    "payload_text",
)


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    list_display = ["public_id", "topic", "order_number", "store", "occurred_at", "published", "error"]
    list_filter = [TopicFilter, PublishedFilter]
    search_fields = ["public_id__exact", "order_number__exact"]
    search_help_text = _("A whole public id or order number.")
    show_full_result_count = False
    fields = FIELDS
    readonly_fields = FIELDS
    actions = ["publish_again"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        # The list does without what is large.
        return super().get_queryset(request).defer("payload", "changes")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orderhooks.change_event")

    @admin.display(description=_("published"), boolean=True, ordering="published_at")
    def published(self, event: Event) -> bool:
        return event.published_at is not None

    @admin.display(description=_("deliveries"))
    def deliveries(self, event: Event) -> SafeString:
        page = reverse(f"{self.admin_site.name}:orderhooks_delivery_changelist")
        count = event.deliveries.count()
        text = ngettext("%(count)d delivery", "%(count)d deliveries", count) % {"count": count}
        return format_html('<a href="{}?{}">{}</a>', page, urlencode({"event__exact": event.pk}), text)

    @admin.display(description=_("changes"))
    def changes_text(self, event: Event) -> SafeString:
        return pretty(event.changes)

    @admin.display(description=_("payload"))
    def payload_text(self, event: Event) -> SafeString:
        return pretty(event.payload)

    @admin.action(description=_("Publish again those with an error"), permissions=["publish"])
    def publish_again(self, request: HttpRequest, queryset: QuerySet[Event]) -> None:
        waiting = list(queryset.filter(published_at=None).order_by("sequence"))
        published = sum(publishing.republish(event) for event in waiting)
        if failed := len(waiting) - published:
            text = ngettext(
                "%(count)d event could not be published; its page says why.",
                "%(count)d events could not be published; their pages say why.",
                failed,
            )
            self.message_user(request, text % {"count": failed}, messages.ERROR)
        text = ngettext("%(count)d event was published.", "%(count)d events were published.", published)
        self.message_user(request, text % {"count": published})


def pretty(data: Any) -> SafeString:
    """JSON for people, escaped."""
    return format_html("<pre>{}</pre>", json.dumps(data, indent=2, ensure_ascii=False))
