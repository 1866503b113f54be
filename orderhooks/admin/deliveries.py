"""Deliveries and their attempts: the log. Read-only but for sending again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import publishing, topics
from orderhooks.models import Attempt, Delivery, Subscription


class TopicFilter(admin.SimpleListFilter):
    title = _("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in topics.catalogue()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event__topic=self.value()) if self.value() else queryset


class AttemptInline(admin.StackedInline):
    model = Attempt
    extra = 0
    can_delete = False
    fields = [
        ("started_at", "duration_ms", "trigger"),
        ("status_code", "error"),
        "detail",
        "request_headers_text",
        "response_headers_text",
        "response_body_text",
    ]
    readonly_fields = [
        "started_at",
        "duration_ms",
        "trigger",
        "status_code",
        "error",
        "detail",
        "request_headers_text",
        "response_headers_text",
        "response_body_text",
    ]

    def has_view_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        # A part of the delivery's page, which has asked already.
        return True

    def has_add_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    @admin.display(description=_("request headers"))
    def request_headers_text(self, attempt: Attempt) -> SafeString:
        return _headers(attempt.request_headers)

    @admin.display(description=_("response headers"))
    def response_headers_text(self, attempt: Attempt) -> SafeString:
        return _headers(attempt.response_headers)

    @admin.display(description=_("response body"))
    def response_body_text(self, attempt: Attempt) -> SafeString:
        return _text(attempt.response_body)


FIELDS = (
    "public_id",
    "state",
    "event_link",
    "order_number",
    "subscription_link",
    "trigger",
    "attempts_made",
    "next_attempt_at",
    "last_status_code",
    "last_error",
    "last_detail",
    "created_at",
    "finished_at",
)


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):
    inlines = [AttemptInline]
    list_display = [
        "public_id",
        "state",
        "order_number",
        "topic",
        "subscription",
        "attempts_made",
        "last_outcome",
        "next_attempt_at",
    ]
    list_filter = ["state", TopicFilter, "subscription"]
    search_fields = ["public_id__exact", "event__public_id__exact", "event__order_number__exact"]
    search_help_text = _("A whole public id (of a delivery or an event) or order number.")
    show_full_result_count = False
    fields = FIELDS
    readonly_fields = FIELDS
    actions = ["redeliver"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        # The event is shown by its topic and number; its payload may be large.
        rows = super().get_queryset(request).select_related("event", "subscription")
        return rows.defer("event__payload", "event__changes")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orderhooks.change_delivery")

    @admin.display(description=_("order"), ordering="event__order_number")
    def order_number(self, delivery: Delivery) -> str:
        return delivery.event.order_number

    @admin.display(description=_("topic"), ordering="event__topic")
    def topic(self, delivery: Delivery) -> str:
        return delivery.event.topic

    @admin.display(description=_("last status"), ordering="last_status_code")
    def last_outcome(self, delivery: Delivery) -> str:
        return str(delivery.last_status_code or delivery.last_error or "-")

    @admin.display(description=_("event"))
    def event_link(self, delivery: Delivery) -> SafeString:
        return self._link("event", delivery.event_id, delivery.event)

    @admin.display(description=_("subscription"))
    def subscription_link(self, delivery: Delivery) -> SafeString:
        return self._link("subscription", delivery.subscription_id, delivery.subscription)

    def _link(self, model: str, key: int, text: object) -> SafeString:
        page = reverse(f"{self.admin_site.name}:orderhooks_{model}_change", args=[key])
        return format_html('<a href="{}">{}</a>', page, text)

    @admin.action(description=_("Redeliver selected"), permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        # Counted first: the list may be filtered by the very state that redelivering changes.
        chosen = queryset.count()
        held = queryset.exclude(subscription__state=Subscription.State.ACTIVE)
        held_count = held.exclude(state=Delivery.State.SENDING).count()
        again = publishing.redeliver(queryset)
        text = ngettext("%(count)d delivery is sent again.", "%(count)d deliveries are sent again.", again)
        self.message_user(request, text % {"count": again})
        if left := chosen - again:
            text = ngettext(
                "%(count)d was left alone: it is being sent at this moment.",
                "%(count)d were left alone: they are being sent at this moment.",
                left,
            )
            self.message_user(request, text % {"count": left}, messages.WARNING)
        if held_count:
            text = ngettext(
                "%(count)d is held until its subscription is active: resume the subscription to send it.",
                "%(count)d are held until their subscriptions are active: resume the subscriptions to send them.",
                held_count,
            )
            self.message_user(request, text % {"count": held_count}, messages.WARNING)


def _headers(headers: Any) -> SafeString:
    lines = (f"{name}: {value}" for name, value in headers.items()) if isinstance(headers, dict) else ()
    return _text("\n".join(lines))


def _text(text: str) -> SafeString:
    """What a receiver said is hostile until escaped."""
    return format_html("<pre>{}</pre>", text)
