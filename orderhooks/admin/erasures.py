"""Erasures of personal data: a form, the count, a confirmation; then a page with the progress, and a list of all."""

from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from orderhooks import operations, permissions, sources
from orderhooks.admin import charts
from orderhooks.admin.health import badge
from orderhooks.admin.jobs import PlannedAdmin
from orderhooks.admin.stores import StoreFilter, store_choice, stores_of
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Erasure
from orderhooks.reporting.counts import count_text

LEVELS = {Erasure.State.RUNNING: "held", Erasure.State.FINISHED: "good"}
# Counts of what subscriptions got, which a user who is limited to stores may not see.
OF_SUBSCRIPTIONS = ("deliveries", "attempts")
# Of the numbers of an erasure's orders.
MOST_NUMBERS = 50
# In the list.
MOST_LISTED = 3


class ErasureForm(forms.Form):
    customer = forms.EmailField(
        label=gettext_lazy("Customer's e-mail address"),
        required=False,
        help_text=gettext_lazy("All orders that hold this address among their personal data."),
    )
    order = forms.CharField(
        label=gettext_lazy("Order number"),
        required=False,
        max_length=255,
        help_text=gettext_lazy("With an address: only this order of the customer."),
    )
    store = forms.CharField(
        label=gettext_lazy("Store"), required=False, max_length=255, help_text=gettext_lazy("Blank: any store.")
    )
    source = forms.ChoiceField(label=gettext_lazy("Orders of the source"), required=False)

    def __init__(self, *args: Any, stores: Collection[str] | None, **kwargs: Any) -> None:
        """`stores`: those whose orders the user may see; None for all."""
        super().__init__(*args, **kwargs)
        self.stores = stores
        if stores is not None:
            choice = store_choice(self.fields["store"].label, stores)
            choice.required, choice.help_text = False, _("Blank: any of your stores.")
            self.fields["store"] = choice
        names = sources.names()
        self.fields["source"].choices = [("", _("any source")), *((name, name) for name in names)]  # type: ignore[attr-defined]
        if len(names) == 1:
            del self.fields["source"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.planned = operations.preview_erasure(**cleaned, stores=self.stores)
            except operations.ErasureError as error:
                self.add_error(None, str(error))
        return cleaned


@admin.register(Erasure)
class ErasureAdmin(PlannedAdmin):
    view_permission = permissions.VIEW_ERASURE
    heading = gettext_lazy("Erase personal data")
    template = "admin/orderhooks/erasure/plan.html"

    list_display = [
        "created_at",
        "few_numbers",
        "state_badge",
        "progress_text",
        "requested_by",
        "finished_at",
        "public_id",
    ]
    list_display_links = ["created_at", "public_id"]
    list_filter = ["state", StoreFilter]
    fields = (
        "state_badge",
        "progress",
        "numbers",
        "store",
        "events",
        "deliveries",
        "attempts",
        "requested_by",
        "created_at",
        "finished_at",
        "public_id",
    )
    readonly_fields = fields

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for name in self.fields if stores_of(request) is None or name not in OF_SUBSCRIPTIONS]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.ERASE_PERSONAL_DATA)

    @method_decorator(sensitive_post_parameters())
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; then the count, to be confirmed; then the erasure."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            names = ("order", "store", "source")
            initial = {name: request.GET.get(name, "") for name in names}
            return self.plan(request, ErasureForm(initial=initial, stores=stores_of(request)))
        form = ErasureForm(request.POST, stores=stores_of(request))
        if not form.is_valid() or "again" in request.POST:
            return self.plan(request, form)
        if "confirm" not in request.POST:
            by_address = bool(form.cleaned_data["customer"] and not form.cleaned_data["order"])
            return self.plan(request, form, by_address=by_address, **_counted(form.planned, form.stores))
        return self._start(request, form)

    def _start(self, request: HttpRequest, form: ErasureForm) -> HttpResponse:
        by = request.user.get_username()
        try:
            erasure = operations.erase(**form.cleaned_data, stores=form.stores, by=by)
        except operations.ErasureError as error:
            # It was possible when the form was checked.
            form.add_error(None, str(error))
            return self.plan(request, form)
        self.log_addition(request, erasure, [{"added": {}}])
        text = _("Erasure %(id)s has begun. A worker carries it out.") % {"id": erasure.public_id}
        self.message_user(request, text)
        if self.has_view_permission(request):
            return HttpResponseRedirect(self.url("change", erasure.pk))
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:index"))

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_badge(self, erasure: Erasure) -> SafeString:
        return badge(LEVELS[Erasure.State(erasure.state)], erasure.get_state_display())

    @admin.display(description=gettext_lazy("orders"))
    def progress_text(self, erasure: Erasure) -> str:
        return _("%(done)s of %(total)s") % {
            "done": count_text(erasure.orders_done),
            "total": count_text(len(erasure.orders)),
        }

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, erasure: Erasure) -> SafeString:
        label = _("%(progress)s orders erased") % {"progress": self.progress_text(erasure)}
        return format_html("{}<br>{}", charts.progress(erasure.share_done(), width=300, height=12, label=label), label)

    @admin.display(description=gettext_lazy("order numbers"))
    def numbers(self, erasure: Erasure) -> str:
        return _numbers(erasure)

    @admin.display(description=gettext_lazy("order numbers"))
    def few_numbers(self, erasure: Erasure) -> str:
        return _numbers(erasure, most=MOST_LISTED)


def _counted(planned: Erasure, stores: Collection[str] | None) -> dict[str, Any]:
    """What the page that asks for the confirmation shows a user of these stores; None for all."""
    expected = operations.estimate_erasure(planned)
    names = ("orders", "events", *(OF_SUBSCRIPTIONS if stores is None else ()))
    counts = {name: count_text(getattr(expected, name)) for name in names}
    try:
        paths = ", ".join(operations.erasure_paths(planned))
    except UndecryptableError as error:
        # By number alone an order is found without its payloads.
        paths = str(error)
    return {"expected": expected, "counts": counts, "numbers": _numbers(planned), "paths": paths}


def _numbers(erasure: Erasure, *, most: int = MOST_NUMBERS) -> str:
    numbers = [str(one["number"] or one["order_pk"]) for one in erasure.orders]
    shown = ", ".join(numbers[:most])
    left = len(numbers) - most
    return _("%(numbers)s and %(count)s more") % {"numbers": shown, "count": count_text(left)} if left > 0 else shown
