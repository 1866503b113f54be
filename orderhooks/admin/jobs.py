"""Replays and backfills: a form, the count, a confirmation; then a page with the progress, and a list of all."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import operations, permissions
from orderhooks.admin import charts
from orderhooks.admin.buttons import ButtonsAdmin
from orderhooks.admin.health import badge
from orderhooks.admin.links import link, page_url
from orderhooks.admin.lookups import LastPageList
from orderhooks.admin.read_only import BoundedPaginator, NotEdited
from orderhooks.admin.stores import OfStores, StoreFilter, seen_subscriptions
from orderhooks.models import Delivery, Subscription
from orderhooks.models.jobs import Job
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.topics import UnknownTopicError

__all__ = ["JOB_FIELDS", "JobAdmin", "JobsField", "PlannedAdmin", "may_start_jobs"]

REFRESH_SECONDS = 3
# The fields of a subscription's page that JobsField adds.
JOB_FIELDS = ("replays", "backfills")
FINISHED = gettext_lazy("It had already finished.")
LEVELS = {"running": "held", "cancelled": "quiet", "done": "good", "failed": "bad"}


def may_start_jobs(request: HttpRequest) -> bool:
    """A user who starts a job chooses among all subscriptions, and so must be allowed to see them."""
    user = request.user
    sees = user.has_perm(permissions.VIEW_SUBSCRIPTION) or user.has_perm(permissions.CHANGE_SUBSCRIPTION)
    return sees and user.has_perm(permissions.REDELIVER_DELIVERY)


class _JobList(LastPageList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for job in self.result_list:
            # A column does not get the request, and so not the user.
            job._request = request


class PlannedAdmin(NotEdited, OfStores, ButtonsAdmin):
    """The pages of work that is counted and confirmed before it begins, and that a worker carries out."""

    # Of the page with the form, and the path of its template.
    heading: str | Promise
    template: str

    view_permission: str
    paginator = BoundedPaginator
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(self.view_permission)

    def plan(self, request: HttpRequest, form: forms.Form, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": self.heading,
            "opts": self.opts,
            "form": form,
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.template, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        # A page that shows it running reloads itself, by a header, because the page has no script. What is shown
        # decides, not the database: one that ends meanwhile would leave a page that says "running" for ever.
        shown = getattr(response, "context_data", None) or {}
        if getattr(shown.get("original"), "is_running", False):
            response["refresh"] = str(REFRESH_SECONDS)
        return response

    def url(self, name: str, *arguments: object) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_{self.opts.model_name}_{name}", args=arguments)


class JobAdmin(PlannedAdmin):
    """The pages of one kind of job. Its form has the field `subscription`."""

    plan_form: type[forms.Form]

    list_filter = ["state", StoreFilter]
    store_field = "subscription__store"
    subscription_field = "subscription"
    linked_lookups = frozenset({"subscription__id__exact"})
    list_select_related = ["subscription"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _JobList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_start_jobs(request)

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return may_start_jobs(request)

    def why_not(self, record: Any, button: Any) -> str | Promise:
        return "" if record.is_running else FINISHED

    def initial(self, request: HttpRequest) -> dict[str, Any]:
        """What the form holds at first."""
        return {"subscription": request.GET.get("subscription")}

    def preview(self, form: Any) -> dict[str, Any]:
        """What the page that asks for the confirmation shows, with `expected` among it."""
        raise NotImplementedError

    def start(self, values: dict[str, Any], *, by: str) -> Job:
        raise NotImplementedError

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; then the count, to be confirmed; then the job."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self.plan(request, self._form(request, initial=self.initial(request)))
        form = self._form(request, request.POST)
        if not form.is_valid() or "again" in request.POST:
            return self.plan(request, form)
        try:
            if "confirm" not in request.POST:
                return self.plan(request, form, **self.preview(form))
            job: Any = self.start(form.cleaned_data, by=request.user.get_username())
        except (operations.BackfillError, operations.ReplayError, UnknownTopicError) as error:
            # What the form does not look at, or what was possible when it was looked at.
            form.add_error(None, str(error))
            return self.plan(request, form)
        name = str(self.opts.verbose_name).capitalize()
        self.log_addition(request, job, [{"added": {}}])
        self.log_change(request, job.subscription, f"{name} {job.public_id}.")
        if self.has_view_permission(request):
            return HttpResponseRedirect(self.url("change", job.pk))
        self.message_user(request, _("%(name)s %(id)s has begun.") % {"name": name, "id": job.public_id})
        page = f"{self.admin_site.name}:orderhooks_subscription_change"
        return HttpResponseRedirect(reverse(page, args=[job.subscription_id]))

    def subscriptions(self, request: HttpRequest) -> SubscriptionQuerySet:
        """The subscriptions that the user may choose."""
        return seen_subscriptions(request)

    def _form(self, request: HttpRequest, *arguments: Any, **options: Any) -> forms.Form:
        form = self.plan_form(*arguments, **options)
        chosen: Any = form.fields["subscription"]
        chosen.queryset = self.subscriptions(request).order_by("name", "id")
        return form

    def cancel(self, request: HttpRequest, job: Any, *, was_running: bool) -> None:
        """Say what came of the button that cancels a job."""
        if not was_running:
            self.message_user(request, FINISHED, messages.WARNING)
            return
        self.log_change(request, job, _("Cancelled."))
        self.message_user(request, _("Cancelled. What it had made due already is sent."))

    def progress_bar(self, job: Any, label: str, text: str) -> SafeString:
        """The bar with its label, then the text."""
        again = SafeString("")
        if job.is_running:
            again = format_html(' <a href="{}">{}</a>', self.url("change", job.pk), _("Refresh"))
        bar = charts.progress(job.share_done(), width=300, height=12, label=label)
        return format_html("{}<br>{}. {}{}", bar, label, text, again)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_badge(self, job: Any) -> SafeString:
        return badge(LEVELS[job.state], job.get_state_display())

    @admin.display(description=gettext_lazy("subscription"))
    def subscription_link(self, job: Any) -> SafeString | str:
        request, key = job._request, job.subscription_id
        url = page_url(request, Subscription, "change", key, site=self.admin_site)
        log = page_url(request, Delivery, "changelist", site=self.admin_site, subscription__id__exact=key)
        named = link(url, job.subscription)
        return format_html("{} ({})", named, link(log, _("its deliveries"))) if log else named


class JobsField(admin.ModelAdmin):
    """A mixin of the subscriptions' admin: fields of its page lead to the forms and to former replays and backfills."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        record = super().get_object(request, object_id, from_field)
        if record is not None:
            # A read-only field does not get the request, and so not the user.
            record._may_start_jobs = may_start_jobs(request)
            record._shown_jobs = [
                name
                for name, permission in (("replay", permissions.VIEW_REPLAY), ("backfill", permissions.VIEW_BACKFILL))
                if request.user.has_perm(permission)
            ]
        return record

    @admin.display(description=gettext_lazy("replays"))
    def replays(self, subscription: Any) -> SafeString:
        return self._jobs(subscription, "replay", _("Replay: send events again…"), _("Former replays"))

    @admin.display(description=gettext_lazy("backfills"))
    def backfills(self, subscription: Any) -> SafeString:
        return self._jobs(subscription, "backfill", _("Backfill: send existing orders…"), _("Former backfills"))

    def _jobs(self, subscription: Any, name: str, start: str, former: str) -> SafeString:
        site = self.admin_site.name
        form = SafeString("")
        if getattr(subscription, "_may_start_jobs", False):
            url = reverse(f"{site}:orderhooks_{name}_add")
            query = urlencode({"subscription": subscription.pk})
            form = format_html('<a class="button orderhooks-button" href="{}?{}">{}</a> ', url, query, start)
        if name not in getattr(subscription, "_shown_jobs", ()):
            return form or SafeString("-")
        url = reverse(f"{site}:orderhooks_{name}_changelist")
        query = urlencode({"subscription__id__exact": subscription.pk})
        return format_html('{}<a href="{}?{}">{}</a>', form, url, query, former)
