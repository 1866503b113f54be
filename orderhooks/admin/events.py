"""Events: what happened, with the payload that receivers get. Those with an error can be published again."""

import json
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import permissions, publishing, sources
from orderhooks.admin import bodies
from orderhooks.admin.buttons import Button
from orderhooks.admin.order_links import OrderLinkedList, order_link, order_urls
from orderhooks.admin.read_only import ReadOnlyAdmin, events_found
from orderhooks.admin.source_choices import without_sole_choices
from orderhooks.admin.stores import StoreFilter, sees_alarms, subscription_keys
from orderhooks.admin.topic_choices import listed_topics
from orderhooks.db.encrypted_records import UnreadableRecord
from orderhooks.models import Delivery, Event
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting.counts import count_text

# How many the action publishes at once; each reads its order anew.
MOST = 1000
# Of an error in the list; its page has all of it.
MOST_CHARACTERS = 160


class TopicFilter(admin.SimpleListFilter):
    title = _("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in listed_topics(request)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.none() if "\0" in value else queryset.filter(topic=value)


class SourceFilter(admin.SimpleListFilter):
    title = _("source")
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in sources.names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.none() if "\0" in value else queryset.filter(source=value)


class PublishedFilter(admin.SimpleListFilter):
    title = _("published")
    parameter_name = "published"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No: there was an error"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "yes":
                return queryset.filter(published_at__isnull=False)
            case "no":
                return queryset.unpublished()
        return queryset


FACTS = [
    "public_id",
    "topic",
    "sequence",
    "order_link",
    "store",
    "source",
    "api_version",
    "occurred_at",
    "published_at",
    "error",
    "deliveries",
]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["topic", "order", "published", "error_text", "occurred_at", "store", "public_id"]
    list_display_links = ["topic", "public_id"]
    list_filter = [TopicFilter, SourceFilter, StoreFilter, PublishedFilter]
    linked_lookups = frozenset({"order_number__exact"})
    # Draws the box; what is looked up is in get_search_results.
    search_fields = ["public_id"]
    search_help_text = _("An order number or a whole public id (evt_…).")
    readonly_fields = ["what_to_do", *FACTS, "error_withheld", "changes_text", "payload_text"]
    actions = ["publish_again"]
    buttons = (Button("publish", _("Publish again"), "redeliver", main=True),)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        buttons = ["what_to_do"] if obj and obj._buttons else []
        sees_payload = self.has_payload_permission(request)
        hidden = set() if request.user.has_perm(permissions.VIEW_DELIVERY) else {"deliveries"}
        facts = ["error_withheld" if name == "error" and not sees_payload else name for name in FACTS]
        sections: list[tuple[Any, dict[str, Any]]] = [
            (None, {"fields": [*buttons, *(name for name in facts if name not in hidden)]})
        ]
        if sees_payload:
            sections.append((_("What receivers get"), {"fields": ["changes_text", "payload_text"]}))
        return sections

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        return columns if self.has_payload_permission(request) else [one for one in columns if one != "error_text"]

    def get_list_filter(self, request: HttpRequest) -> Any:
        return without_sole_choices(super().get_list_filter(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        # The list does without what is large.
        rows: Any = super().get_queryset(request)
        seen: EventQuerySet = rows.of_stores(None, alarms=sees_alarms(request))
        return seen.defer("payload", "changes")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OrderLinkedList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event._order_url = order_urls(request, [event], site=self.admin_site)[event.pk]
        return event

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return ["-sequence"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(pk__in=events_found(request, term)) if term else queryset), False

    def why_not(self, record: Event, button: Button) -> str | Promise:
        return "" if record.published_at is None else _("It was already published.")

    @admin.display(description=_("order"), empty_value="-")
    def order(self, event: Any) -> SafeString | str:
        return order_link(event._order_url, event.order_number)

    @admin.display(description=_("order number"), empty_value="-")
    def order_link(self, event: Any) -> SafeString | str:
        return order_link(event._order_url, event.order_number)

    @admin.display(description=_("published"), boolean=True)
    def published(self, event: Event) -> bool:
        return event.published_at is not None

    @admin.display(description=_("error"), empty_value="-")
    def error_text(self, event: Event) -> str:
        return Truncator(event.error).chars(MOST_CHARACTERS)

    @admin.display(description=_("error"), empty_value="-")
    def error_withheld(self, event: Event) -> str:
        if not event.error:
            return ""
        return str(_("Its payload could not be built. To see why takes the permission to see payloads."))

    @admin.display(description=_("deliveries"))
    def deliveries(self, event: Event) -> SafeString:
        count = self._deliveries_of(event).count()
        text = ngettext("%(count)s delivery", "%(count)s deliveries", count) % {"count": count_text(count)}
        url = f"{self.list_url('delivery')}?{urlencode({'event__exact': event.pk})}"
        return format_html('<a href="{}">{}</a>', url, text)

    @admin.display(description=_("changes"))
    def changes_text(self, event: Event) -> SafeString:
        return bodies.draw(_text(event.changes), label=_("Changes"))

    @admin.display(description=_("payload"))
    def payload_text(self, event: Event) -> SafeString:
        return bodies.draw(_text(event.payload), label=_("Payload"))

    def _deliveries_of(self, event: Any) -> DeliveryQuerySet:
        rows: DeliveryQuerySet = Delivery.objects.filter(event=event)
        keys = subscription_keys(event._request)
        return rows if keys is None else rows.filter(subscription__in=keys)

    def press_publish(self, request: HttpRequest, event: Event) -> None:
        self._publish(request, [event])

    @admin.action(description=_("Publish again those with an error"), permissions=["redeliver"])
    def publish_again(self, request: HttpRequest, queryset: Any) -> None:
        waiting = list(queryset.unpublished().order_by("sequence")[: MOST + 1])
        if len(waiting) > MOST:
            text = _("Only the first %(count)s are published now. Do it again for the others.")
            self.message_user(request, text % {"count": count_text(MOST)}, messages.WARNING)
        self._publish(request, waiting[:MOST])

    def _publish(self, request: HttpRequest, waiting: list[Event]) -> None:
        published = [event for event in waiting if publishing.republish(event)]
        for event in published:
            self.log_change(request, event, str(_("Published again.")))
        if failed := len(waiting) - len(published):
            text = ngettext(
                "%(count)s event could not be published; its page says why.",
                "%(count)s events could not be published; their pages say why.",
                failed,
            )
            self.message_user(request, text % {"count": count_text(failed)}, messages.ERROR)
        text = ngettext("%(count)s event was published.", "%(count)s events were published.", len(published))
        self.message_user(request, text % {"count": count_text(len(published))})


def _text(data: Any) -> str:
    if isinstance(data, UnreadableRecord):
        return data.reason
    return json.dumps(data, ensure_ascii=False)
