"""Replays: events of a period are sent again. A form, the count, a confirmation; then a page with the progress."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import operations, permissions, topics
from orderhooks.admin import charts
from orderhooks.admin.buttons import Button, ButtonsAdmin
from orderhooks.admin.health import badge
from orderhooks.admin.read_only import BoundedPaginator, NotEdited
from orderhooks.models import Replay, Subscription
from orderhooks.reporting.counts import count_text

REFRESH_SECONDS = 3
LEVELS = {Replay.State.RUNNING: "held", Replay.State.CANCELLED: "quiet", Replay.State.DONE: "good"}


def may_replay(request: HttpRequest) -> bool:
    """A user who starts a replay chooses among all subscriptions, and so must be allowed to see them."""
    user = request.user
    sees = user.has_perm(permissions.VIEW_SUBSCRIPTION) or user.has_perm(permissions.CHANGE_SUBSCRIPTION)
    return sees and user.has_perm(permissions.REDELIVER_DELIVERY)


def may_see_replays(request: HttpRequest) -> bool:
    """As in the API."""
    return request.user.has_perm(permissions.VIEW_REPLAY)


class _TimeField(forms.DateTimeField):
    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})


class ReplayForm(forms.Form):
    subscription = forms.ModelChoiceField(
        Subscription.objects.order_by("name", "id"), label=gettext_lazy("Subscription")
    )
    since = _TimeField(label=gettext_lazy("Since"))
    until = _TimeField(label=gettext_lazy("Until"), required=False, help_text=gettext_lazy("Blank: until now."))
    only = forms.ChoiceField(
        label=gettext_lazy("What"), choices=Replay.Only.choices, widget=forms.RadioSelect, initial=Replay.Only.ALL
    )
    topics = forms.MultipleChoiceField(
        label=gettext_lazy("Topics"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("If none is chosen: all topics of the subscription."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Read now, not at import: the setting TOPICS adds to the catalogue.
        choices = [(name, name) for name in topics.catalogue() if not name.startswith("webhook.")]
        self.fields["topics"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and since >= timezone.now():
            self.add_error("since", _("Choose a time that is past."))
        elif since and until and until <= since:
            self.add_error("until", _("Choose a time after the first."))
        return cleaned


@admin.register(Replay)
class ReplayAdmin(NotEdited, ButtonsAdmin):
    list_display = ["subscription", "state_badge", "deliveries", "only", "since", "until", "requested_by", "public_id"]
    list_display_links = ["subscription", "public_id"]
    list_filter = ["state"]
    linked_lookups = frozenset({"subscription__id__exact"})
    paginator = BoundedPaginator
    list_select_related = ["subscription"]
    show_full_result_count = False
    fields = (
        "what_to_do",
        "state_badge",
        "progress",
        "subscription_link",
        "only",
        "topics_text",
        "since",
        "until",
        "requested_by",
        "created_at",
        "finished_at",
        "public_id",
    )
    readonly_fields = fields
    buttons = (Button("cancel", gettext_lazy("Cancel this replay"), "redeliver", danger=True),)

    def has_view_permission(self, request: HttpRequest, obj: Replay | None = None) -> bool:
        return may_see_replays(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_replay(request)

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return may_replay(request)

    def offers(self, request: HttpRequest, record: Replay, button: Button) -> bool:
        return record.state == Replay.State.RUNNING and super().offers(request, record, button)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; then the count, to be confirmed; then the replay."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            since = timezone.now() - timedelta(days=1)
            initial = {"subscription": request.GET.get("subscription"), "since": since}
            return self._plan(request, ReplayForm(initial=initial))
        form = ReplayForm(request.POST)
        if not form.is_valid() or "again" in request.POST:
            return self._plan(request, form)
        if "confirm" not in request.POST:
            expected = operations.preview_replay(**form.cleaned_data)
            return self._plan(request, form, expected=expected, expected_text=count_text(expected.count))
        replay = operations.replay(**form.cleaned_data, by=request.user.get_username())
        self.log_addition(request, replay, [{"added": {}}])
        self.log_change(request, replay.subscription, _("Replay %(replay)s.") % {"replay": replay.public_id})
        if self.has_view_permission(request):
            return HttpResponseRedirect(self._url("change", replay.pk))
        self.message_user(request, _("Replay %(replay)s has begun.") % {"replay": replay.public_id})
        subscription_url = reverse(
            f"{self.admin_site.name}:orderhooks_subscription_change", args=[replay.subscription_id]
        )
        return HttpResponseRedirect(subscription_url)

    def _plan(self, request: HttpRequest, form: ReplayForm, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Replay: send events again"),
            "opts": self.opts,
            "form": form,
            "only": Replay.Only(form.cleaned_data["only"]).label if more else "",
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/orderhooks/replay/plan.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        # A page that shows it running reloads itself, by a header, because the page has no script. What is shown
        # decides, not the database: one that ends meanwhile would leave a page that says "running" for ever.
        shown = getattr(response, "context_data", None) or {}
        if isinstance(replay := shown.get("original"), Replay) and replay.state == Replay.State.RUNNING:
            response["refresh"] = str(REFRESH_SECONDS)
        return response

    def press_cancel(self, request: HttpRequest, replay: Replay) -> None:
        if not operations.cancel_replay(replay):
            self.message_user(request, _("It had already finished."), messages.WARNING)
            return
        self.log_change(request, replay, _("Cancelled."))
        self.message_user(request, _("Cancelled. What it had made due already is sent."))

    def _url(self, name: str, *arguments: object) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_replay_{name}", args=arguments)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_badge(self, replay: Replay) -> SafeString:
        return badge(LEVELS[Replay.State(replay.state)], replay.get_state_display())

    @admin.display(description=gettext_lazy("deliveries"))
    def deliveries(self, replay: Replay) -> str:
        return _("%(done)s of %(total)s") % {"done": count_text(replay.done), "total": expected_text(replay)}

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, replay: Replay) -> SafeString:
        share = replay.share_done()
        label = _("%(percent)d %% of the time gone through") % {"percent": int(share * 100)}
        text = _("%(count)s deliveries made due, of %(total)s expected.") % {
            "count": count_text(replay.done),
            "total": expected_text(replay),
        }
        again = ""
        if replay.state == Replay.State.RUNNING:
            again = format_html(' <a href="{}">{}</a>', self._url("change", replay.pk), _("Refresh"))
        bar = charts.progress(share, width=300, height=12, label=label)
        return format_html("{}<br>{}. {}{}", bar, label, text, again)

    @admin.display(description=gettext_lazy("topics"))
    def topics_text(self, replay: Replay) -> str:
        return ", ".join(map(str, replay.topics)) or _("all topics of the subscription")

    @admin.display(description=gettext_lazy("subscription"))
    def subscription_link(self, replay: Replay) -> SafeString:
        url = reverse(f"{self.admin_site.name}:orderhooks_subscription_change", args=[replay.subscription_id])
        log = reverse(f"{self.admin_site.name}:orderhooks_delivery_changelist")
        query = urlencode({"subscription__id__exact": replay.subscription_id})
        return format_html(
            '<a href="{}">{}</a> (<a href="{}?{}">{}</a>)', url, replay.subscription, log, query, _("its deliveries")
        )


class ReplaysField(admin.ModelAdmin):
    """A mixin of the subscriptions' admin: the field `replays` of its page leads to the form and to former ones."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        record = super().get_object(request, object_id, from_field)
        if record is not None:
            # A read-only field does not get the request, and so not the user.
            record._may_replay, record._may_see_replays = may_replay(request), may_see_replays(request)
        return record

    @admin.display(description=gettext_lazy("replays"))
    def replays(self, subscription: Any) -> SafeString:
        site = self.admin_site.name
        query = urlencode({"subscription": subscription.pk})
        form = SafeString("")
        if getattr(subscription, "_may_replay", False):
            url = reverse(f"{site}:orderhooks_replay_add")
            label = _("Replay: send events again…")
            form = format_html('<a class="button orderhooks-button" href="{}?{}">{}</a> ', url, query, label)
        if not getattr(subscription, "_may_see_replays", False):
            return form or SafeString("-")
        former = reverse(f"{site}:orderhooks_replay_changelist")
        query = urlencode({"subscription__id__exact": subscription.pk})
        return format_html('{}<a href="{}?{}">{}</a>', form, former, query, _("Former replays"))


def expected_text(replay: Any) -> str:
    """`312`, or `10,000+` of a Replay."""
    return count_text(replay.total, is_exact=replay.total_is_exact)
