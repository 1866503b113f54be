"""Deliveries and their attempts: the log. Read-only, except for redelivering and skipping."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orderhooks import operations, permissions, sending, shaping
from orderhooks.admin import delivery_page, exports, filters
from orderhooks.admin.buttons import Button
from orderhooks.admin.delivery_page import DeliveryPage, compact_time_html, time_html
from orderhooks.admin.failure_filter import FailureFilter
from orderhooks.admin.filters import FILTERS, are_combined
from orderhooks.admin.odd_filters import warn_of_odd_filters
from orderhooks.admin.order_links import OrderLinkedList, order_link, order_urls
from orderhooks.admin.read_only import ReadOnlyAdmin, events_found
from orderhooks.admin.redelivery import redeliver, redeliver_after_confirmation, redelivery_text, row_of
from orderhooks.admin.source_choices import without_sole_choices
from orderhooks.admin.topic_choices import is_in_use
from orderhooks.models import Delivery
from orderhooks.reporting import delivery_summary, endpoint_health

State = Delivery.State
NUMBERED = _("%(made)d of %(most)d")
# Why a button can't be pressed in a state.
NOT_POSSIBLE: dict[tuple[str, str], str | Promise] = {
    ("redeliver", State.SENDING): _("It is being sent now."),
    ("skip", State.SENDING): _("It was not skipped: it is being sent now."),
    ("skip", State.DELIVERED): _("It was not skipped: it has been delivered."),
    ("skip", State.SKIPPED): _("It was already skipped."),
}
FACTS = [
    "public_id",
    "state_badge",
    "order_link",
    "topic",
    "event_link",
    "subscription_link",
    "attempts_of",
    "due_at",
    "caused_by",
    "created_at",
    "finished_at",
]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = [
        "state_badge",
        "order_number",
        "topic",
        "subscription_name",
        "last_outcome",
        "next_attempt",
        "attempts_of",
        "created",
    ]
    list_display_links = ["state_badge"]
    list_filter = [*FILTERS, FailureFilter]
    # Of its event and of its subscription: see DeliveryQuerySet.of_stores.
    store_field = "event__store"
    subscription_field = "subscription"
    linked_lookups = frozenset({"event__exact"})
    # Draws the box; what is looked up is in get_search_results.
    search_fields = ["public_id"]
    search_help_text = _("An order number, or a whole public id: of a delivery (dlv_…) or an event (evt_…).")
    list_select_related = ["event", "subscription"]
    actions = ["redeliver", "export"]
    buttons = (
        Button("redeliver", _("Redeliver now"), "redeliver", main=True),
        Button("skip", _("Skip: don't send it"), "redeliver", danger=True),
    )
    readonly_fields = ["summary", "what_to_do", *FACTS, "attempt_log", "request_body", "curl"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sections: list[tuple[Any, dict[str, Any]]] = [
            (None, {"fields": ["summary", *(["what_to_do"] if obj and obj._buttons else [])]}),
            (_("Attempts, newest first"), {"fields": ["attempt_log"], "classes": ["orderhooks-wide"]}),
            (_("Delivery"), {"fields": FACTS}),
        ]
        if self.has_payload_permission(request):
            sections.append((_("Request"), {"fields": ["request_body", "curl"]}))
        return sections

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        # The event is shown by its topic and number; its payload may be large.
        rows = super().get_queryset(request).select_related("event", "subscription")
        return rows.defer("event__payload", "event__changes", "event__error", "subscription__headers")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OrderLinkedList

    def get_list_filter(self, request: HttpRequest) -> Any:
        return without_sole_choices(super().get_list_filter(request))

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        # Within a topic by the event, like the topic's index, so that rare topics are found without reading all rows.
        # The indexes of other filters are in the order of ids, and know nothing of a time when a topic was not in use.
        topic = request.GET.get("topic")
        by_event = topic and not (are_combined(request) and is_in_use(request, topic))
        return ["-event_id", "-id"] if by_event else ["-id"]

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Paginator:
        paginator = super().get_paginator(request, *args, **kwargs)
        if are_combined(request):
            # To count ten thousand, PostgreSQL reads all rows of one filter; to count a thousand, only the newest.
            paginator.bound = filters.BOUND  # type: ignore[attr-defined]
        return paginator

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if term.startswith("dlv_"):
            return queryset.filter(public_id=term), False
        return (queryset.filter(event__in=events_found(request, term)) if term else queryset), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        delivery = super().get_object(request, object_id, from_field)
        if delivery is not None:
            delivery._page = DeliveryPage(request, delivery, self.admin_site.name, timezone.now())
        return delivery

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.curl_view)
        return [path("<path:object_id>/curl/", view, name="orderhooks_delivery_curl"), *super().get_urls()]

    def why_not(self, record: Delivery, button: Button) -> str | Promise:
        if button.name == "redeliver" and record.trigger == Delivery.Trigger.TEST:
            return _("A test is not sent again: send another one from the page of its subscription.")
        if button.name == "skip" and record.is_merged:
            return _("It was not skipped: it was merged into a later update.")
        return NOT_POSSIBLE.get((button.name, record.state), "")

    # The list

    @admin.display(description=_("state"))
    def state_badge(self, delivery: Delivery) -> SafeString:
        return delivery_page.state_badge(delivery)

    @admin.display(description=_("order"), empty_value="-")
    def order_number(self, delivery: Any) -> SafeString | str:
        return order_link(delivery._order_url, delivery.event.order_number)

    @admin.display(description=_("topic"))
    def topic(self, delivery: Delivery) -> str:
        return delivery.event.topic

    @admin.display(description=_("subscription"))
    def subscription_name(self, delivery: Delivery) -> str:
        return delivery.subscription.name

    def what_follows(self, record: Delivery) -> str:
        return redelivery_text(record) if any(one.name == "redeliver" for one in record._buttons) else ""  # type: ignore[attr-defined]

    @admin.display(description=_("attempts"))
    def attempts_of(self, delivery: Delivery) -> str:
        made, most = delivery.table_attempts, delivery_summary.most_attempts(delivery)
        if made > most:
            return str(made)
        counts = {"made": made, "most": most, "all": delivery.attempts_made}
        # Attempts by hand are none of the retry table's.
        text = _("automatic %(made)d of %(most)d, %(all)d in all") if delivery.uncounted_attempts else NUMBERED
        return text % counts

    @admin.display(description=_("last outcome"), empty_value="-")
    def last_outcome(self, delivery: Delivery) -> str:
        if delivery.last_status_code is None and not delivery.last_error:
            return ""
        return endpoint_health.outcome_text(delivery.last_status_code, delivery.last_error)

    @admin.display(description=_("next attempt"))
    def next_attempt(self, delivery: Delivery) -> str:
        if delivery.is_held:
            return str(_("when resumed"))
        due_at = delivery.expected_at
        if due_at is None:
            return "-"
        if due_at > timezone.now():
            return compact_time_html(due_at)
        is_behind = delivery.subscription.ordered and delivery.blockers().exists()
        return str(_("after an earlier event of its order") if is_behind else _("now"))

    @admin.display(description=_("created"))
    def created(self, delivery: Delivery) -> str:
        return compact_time_html(delivery.created_at)

    # The page

    @admin.display(description=_("what happened"))
    def summary(self, delivery: Any) -> SafeString:
        drawn: SafeString = delivery._page.summary()
        return drawn

    @admin.display(description=_("attempts"))
    def attempt_log(self, delivery: Any) -> SafeString:
        confidential = self.has_payload_permission(delivery._page.request)
        drawn: SafeString = delivery._page.attempt_log(confidential=confidential)
        return drawn

    @admin.display(description=_("order"))
    def order_link(self, delivery: Any) -> str:
        event = delivery.event
        if not event.order_number:
            return "-"
        order_url = order_urls(delivery._page.request, [event], site=self.admin_site)[event.pk]
        url = f"{self.list_url('delivery')}?{urlencode({'q': event.order_number})}"
        link = order_link(order_url, event.order_number)
        return format_html('{} (<a href="{}">{}</a>)', link, url, _("its deliveries"))

    @admin.display(description=_("event"))
    def event_link(self, delivery: Any) -> str:
        return self.link(delivery._page.request, delivery.event, delivery.event.public_id)

    @admin.display(description=_("subscription"))
    def subscription_link(self, delivery: Any) -> str:
        return self.link(delivery._page.request, delivery.subscription, delivery.subscription)

    @admin.display(description=_("next attempt"))
    def due_at(self, delivery: Delivery) -> str:
        if delivery.is_held:
            return str(_("when the subscription is resumed"))
        due_at = delivery.expected_at
        if due_at is None:
            return "-"
        return time_html(due_at) if due_at > timezone.now() else str(_("now, by the next worker"))

    @admin.display(description=_("caused by"))
    def caused_by(self, delivery: Any) -> str:
        return f"{delivery.get_trigger_display()} {delivery.requested_by}".strip()

    @admin.display(description=_("body"))
    def request_body(self, delivery: Any) -> SafeString:
        drawn: SafeString = delivery._page.request_body()
        return drawn

    @admin.display(description=_("as cURL"))
    def curl(self, delivery: Any) -> SafeString:
        drawn: SafeString = delivery._page.curl()
        return drawn

    # What is done

    def curl_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The script as plain text."""
        delivery = self.get_object(request, object_id)
        if delivery is None:
            raise Http404
        if not (self.has_view_permission(request, delivery) and self.has_payload_permission(request)):
            raise PermissionDenied
        try:
            script, status = sending.curl_script(delivery), HTTPStatus.OK
        except shaping.ShapingError as error:
            script, status = str(error), HTTPStatus.CONFLICT
        response = HttpResponse(script, status=status, content_type="text/plain; charset=utf-8")
        response["X-Content-Type-Options"] = "nosniff"
        add_never_cache_headers(response)
        return response

    def press_redeliver(self, request: HttpRequest, delivery: Delivery) -> None:
        redeliver(self, request, [row_of(delivery)])

    def press_skip(self, request: HttpRequest, delivery: Delivery) -> None:
        if operations.skip(Delivery.objects.filter(pk=delivery.pk)):
            self.log_change(request, delivery, str(_("Skipped.")))
            self.message_user(request, _("It is not sent. Redeliver it if you change your mind."))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.POST.get("action") == "export" and helpers.ACTION_CHECKBOX_NAME not in request.POST:
            # Nothing ticked: all that the filters and the search show.
            everything: QueryDict = request.POST.copy()
            everything["select_across"] = "1"
            everything[helpers.ACTION_CHECKBOX_NAME] = "0"  # no row's; Django wants one
            request.POST = everything  # type: ignore[assignment]
        response = super().changelist_view(request, extra_context)
        warn_of_odd_filters(request, response)
        return response

    @admin.action(description=_("Redeliver selected"), permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return redeliver_after_confirmation(self, request, queryset)

    @admin.action(description=_("Export as CSV (none selected: all found)"))
    def export(self, request: HttpRequest, queryset: Any) -> HttpResponseBase:
        return exports.export(queryset, with_url=request.user.has_perm(permissions.VIEW_SUBSCRIPTION))
