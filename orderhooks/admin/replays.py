"""Replays: events of a period are sent again."""

import copy
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import catalogue, operations, permissions, topics
from orderhooks.admin.buttons import Button
from orderhooks.admin.jobs import JobAdmin
from orderhooks.admin.times import TimeField
from orderhooks.admin.topic_choices import known_topics, listed_topics
from orderhooks.models import Replay, Subscription
from orderhooks.reporting.counts import count_text


class ReplayForm(forms.Form):
    subscription = forms.ModelChoiceField(
        Subscription.objects.order_by("name", "id"), label=gettext_lazy("Subscription")
    )
    since = TimeField(label=gettext_lazy("Since"))
    until = TimeField(label=gettext_lazy("Until"), required=False, help_text=gettext_lazy("Blank: until now."))
    only = forms.ChoiceField(
        label=gettext_lazy("What"), choices=Replay.Only.choices, widget=forms.RadioSelect, initial=Replay.Only.ALL
    )
    topics = forms.MultipleChoiceField(
        label=gettext_lazy("Topics"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("If none is chosen: all topics of the subscription."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and since >= timezone.now():
            self.add_error("since", _("Choose a time that is past."))
        elif since and until and until <= since:
            self.add_error("until", _("Choose a time after the first."))
        return cleaned


@admin.register(Replay)
class ReplayAdmin(JobAdmin):
    view_permission = permissions.VIEW_REPLAY
    heading = gettext_lazy("Replay: send events again")
    template = "admin/orderhooks/replay/plan.html"
    plan_form = ReplayForm

    list_display = ["subscription", "state_badge", "deliveries", "only", "since", "until", "requested_by", "public_id"]
    list_display_links = ["subscription", "public_id"]
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

    def initial(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().initial(request), "since": timezone.now() - timedelta(days=1)}

    def _form(self, request: HttpRequest, *arguments: Any, **options: Any) -> forms.Form:
        form = super()._form(request, *arguments, **options)
        # Read now, not at import: sources and settings bring topics. Events may have one that is no longer made.
        # Those of alarms where somebody gets alarms.
        topics_of = listed_topics if self.subscriptions(request).filter(operational=True).exists() else known_topics
        choices = [(name, name) for name in topics_of(request) if name != catalogue.TEST]
        form.fields["topics"].choices = choices  # type: ignore[attr-defined]
        return form

    def preview(self, form: Any) -> dict[str, Any]:
        expected = operations.preview_replay(**form.cleaned_data)
        only = Replay.Only(form.cleaned_data["only"]).label
        chosen, wanted = form.cleaned_data["topics"], form.cleaned_data["subscription"].topics
        unwanted = ", ".join(name for name in chosen if not topics.matches(wanted, name))
        return {
            "expected": expected,
            "expected_text": count_text(expected.count),
            "only": only,
            "unwanted": unwanted,
            **self._left_out(form.cleaned_data, expected),
        }

    def _left_out(self, values: dict[str, Any], expected: Any) -> dict[str, Any]:
        """How many events the subscription's own choice leaves out, where it leaves none."""
        subscription = values["subscription"]
        if expected.count or not subscription.is_selective:
            return {}
        anything = copy.copy(subscription)
        anything.changed_fields, anything.filter = [], ""
        found = operations.preview_replay(**{**values, "subscription": anything})
        return {"left_out": found.count, "left_out_text": count_text(found.count)}

    def start(self, values: dict[str, Any], *, by: str) -> Replay:
        return operations.replay(**values, by=by)

    def press_cancel(self, request: HttpRequest, replay: Replay) -> None:
        self.cancel(request, replay, was_running=operations.cancel_replay(replay))

    @admin.display(description=gettext_lazy("deliveries"))
    def deliveries(self, replay: Replay) -> str:
        return _("%(done)s of %(total)s") % {"done": count_text(replay.done), "total": expected_text(replay)}

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, replay: Replay) -> SafeString:
        label = _("%(percent)d %% of the time gone through") % {"percent": int(replay.share_done() * 100)}
        text = ngettext(
            "%(count)s delivery made due, of %(total)s expected.",
            "%(count)s deliveries made due, of %(total)s expected.",
            replay.done,
        ) % {"count": count_text(replay.done), "total": expected_text(replay)}
        return self.progress_bar(replay, label, text)

    @admin.display(description=gettext_lazy("topics"))
    def topics_text(self, replay: Replay) -> str:
        return ", ".join(map(str, replay.topics)) or _("all topics of the subscription")


def expected_text(replay: Replay) -> str:
    """`312`, or `10,000+` of a Replay."""
    return count_text(replay.total, is_exact=replay.total_is_exact)
