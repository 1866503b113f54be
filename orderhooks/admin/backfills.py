"""Backfills: the orders that exist are sent to one subscription."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import catalogue, operations, permissions, sources, topics
from orderhooks.admin.buttons import Button
from orderhooks.admin.jobs import JobAdmin
from orderhooks.admin.read_only import sees_payload
from orderhooks.admin.stores import stores_of
from orderhooks.admin.times import TimeField
from orderhooks.backfilling.planning import NOT_OF_EXISTING
from orderhooks.models import Backfill, Subscription
from orderhooks.models.backfills import DEFAULT_RATE, MOST_RATE
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.endpoint_health import held_text

TOPIC = "order.updated"


def _topics() -> list[str]:
    """The topics that an order which exists can have."""
    without = {catalogue.TEST, *NOT_OF_EXISTING}
    return [topic.name for topic in catalogue.offered() if topic.name not in without]


class BackfillForm(forms.Form):
    subscription = forms.ModelChoiceField(
        Subscription.objects.order_by("name", "id"), label=gettext_lazy("Subscription")
    )
    source = forms.ChoiceField(label=gettext_lazy("Orders of the source"))
    since = TimeField(
        label=gettext_lazy("Orders since"), required=False, help_text=gettext_lazy("By their date. Blank: all orders.")
    )
    topic = forms.ChoiceField(
        label=gettext_lazy("Topic"), initial=TOPIC, help_text=gettext_lazy("The subscription must want it.")
    )
    rate = forms.IntegerField(
        label=gettext_lazy("Orders a second"),
        min_value=1,
        max_value=MOST_RATE,
        initial=DEFAULT_RATE,
        help_text=gettext_lazy("At most. They also keep to the endpoint's own limits."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Read now, not at import: these come from the settings.
        choices: dict[str, list[str]] = {
            "topic": _topics(),
            "source": sources.names(),
        }
        for name, known in choices.items():
            self.fields[name].choices = [(one, one) for one in known]  # type: ignore[attr-defined]
        if len(choices["source"]) == 1:
            del self.fields["source"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.planned = operations.preview_backfill(**cleaned)
            except operations.BackfillError as error:
                self.add_error(error.field if error.field in self.fields else None, str(error))
        return cleaned


@admin.register(Backfill)
class BackfillAdmin(JobAdmin):
    view_permission = permissions.VIEW_BACKFILL
    heading = gettext_lazy("Backfill: send existing orders")
    template = "admin/orderhooks/backfill/plan.html"
    plan_form = BackfillForm

    list_display = ["subscription", "state_badge", "orders", "failed", "topic", "since", "requested_by", "public_id"]
    list_display_links = ["subscription", "public_id"]
    fields = (
        "what_to_do",
        "state_badge",
        "progress",
        "error",
        "first_error",
        "subscription_link",
        "topic",
        "source",
        "since_text",
        "rate",
        "requested_by",
        "created_at",
        "finished_at",
        "public_id",
    )
    readonly_fields = fields
    buttons = (Button("cancel", gettext_lazy("Cancel this backfill"), "redeliver", danger=True),)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        # Errors only where there are some; an order's error may quote the order.
        hidden = {name for name in ("error", "first_error") if not getattr(obj, name, "")}
        if not sees_payload(request):
            hidden.add("first_error")
        return [name for name in self.fields if name not in hidden]

    def initial(self, request: HttpRequest) -> dict[str, Any]:
        initial = super().initial(request)
        pk = str(initial["subscription"] or "")
        subscription = self.subscriptions(request).filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None
        wanted = [name for name in _topics() if subscription and topics.matches(subscription.topics, name)]
        return {**initial, "topic": TOPIC if TOPIC in wanted or not wanted else wanted[0]}

    def subscriptions(self, request: HttpRequest) -> SubscriptionQuerySet:
        return super().subscriptions(request).filter(operational=False)

    def preview(self, form: Any) -> dict[str, Any]:
        planned: Backfill = form.planned
        return {"expected": planned, "expected_text": _total(planned), "has_orders": bool(planned.last_key)}

    def start(self, values: dict[str, Any], *, by: str) -> Backfill:
        return operations.backfill(**values, by=by)

    def press_cancel(self, request: HttpRequest, backfill: Backfill) -> None:
        self.cancel(request, backfill, was_running=operations.cancel_backfill(backfill))

    @admin.display(description=gettext_lazy("orders"))
    def orders(self, backfill: Backfill) -> str:
        return _("%(done)s of %(total)s") % {"done": _walked(backfill), "total": _total(backfill)}

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, backfill: Backfill) -> SafeString:
        label = _("%(walked)s of %(total)s orders gone through") % {
            "walked": _walked(backfill),
            "total": _total(backfill),
        }
        made = ngettext("%(count)s delivery made.", "%(count)s deliveries made.", backfill.done)
        texts = [made % {"count": count_text(backfill.done)}]
        if backfill.failed:
            failed = ngettext(
                "%(count)s order could not be read.", "%(count)s orders could not be read.", backfill.failed
            )
            texts.append(failed % {"count": count_text(backfill.failed)})
        if backfill.is_running and (held := held_text(backfill.subscription, now=timezone.now())):
            # It waits while deliveries of the subscription wait.
            texts.append(held)
        return self.progress_bar(backfill, label, " ".join(texts))

    @admin.display(description=gettext_lazy("orders since"))
    def since_text(self, backfill: Backfill) -> Any:
        return display_for_value(backfill.since, "") if backfill.since else _("all orders")


def _walked(backfill: Backfill) -> str:
    # Where orders are not counted, those of other stores are among those that it goes through.
    is_withheld = backfill.total is None and stores_of(backfill._request) is not None  # type: ignore[attr-defined]
    return _("not counted") if is_withheld else count_text(backfill.walked)


def _total(backfill: Backfill) -> str:
    return _("not counted") if backfill.total is None else count_text(backfill.total)
