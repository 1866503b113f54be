"""The page that tries a subscription's choices on the last events, with what is typed and not saved yet."""

from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from orderhooks import permissions, trials, versions
from orderhooks.admin import bodies
from orderhooks.admin.delivery_page import time_html
from orderhooks.admin.health import badge
from orderhooks.admin.links import page_url
from orderhooks.admin.stores import store_choice, stores_of
from orderhooks.admin.subscriptions.forms import (
    TopicsField,
    changed_fields_field,
    choices_of_formats,
    choices_of_topics,
    choices_of_versions,
    filter_field,
    format_field,
    projection_field,
)
from orderhooks.admin.subscriptions.login_forms import SECRET_FIELDS
from orderhooks.admin.subscriptions.pages import PagesAdmin
from orderhooks.models import Event, Subscription
from orderhooks.models.compatibility import selection_errors
from orderhooks.models.configuration import validate_changed_fields, validate_topics
from orderhooks.trials import DEFAULT_EVENTS, MOST_EVENTS, EventTrial, Trial, Trials

CHOICES = ("topics", "store", "changed_fields", "filter", "projection", "api_version", "format")
LEVELS: dict[TextChoices, str] = {Trial.SENT: "good", Trial.LEFT_OUT: "quiet", Trial.HELD: "bad"}


class TrialForm(forms.Form):
    """The choices, as the subscription's form has them, and on how many events they are tried."""

    topics = TopicsField(label=gettext_lazy("Topics"))
    store = forms.CharField(label=gettext_lazy("Store"), required=False, max_length=255)
    changed_fields = changed_fields_field()
    filter = filter_field()
    projection = projection_field()
    format = format_field()
    api_version = forms.ChoiceField(label=gettext_lazy("Version"), required=False)
    events = forms.IntegerField(
        label=gettext_lazy("Last events"), required=False, min_value=1, max_value=MOST_EVENTS, initial=DEFAULT_EVENTS
    )

    def __init__(self, *args: Any, stores: Collection[str] | None, **kwargs: Any) -> None:
        """`stores`: those that the user may choose; None for any."""
        super().__init__(*args, **kwargs)
        if stores is not None:
            self.fields["store"] = store_choice(self.fields["store"].label, stores)
        self.fields["topics"].widget.choices = choices_of_topics()
        self.fields["format"].choices = choices_of_formats(self.initial.get("format"))  # type: ignore[attr-defined]
        self.fields["api_version"].choices = choices_of_versions(self.initial.get("api_version", ""))  # type: ignore[attr-defined]

    def clean_topics(self) -> list[str]:
        patterns: list[str] = self.cleaned_data["topics"]
        validate_topics(patterns)
        return patterns

    def clean_changed_fields(self) -> list[str]:
        patterns: list[str] = self.cleaned_data["changed_fields"]
        validate_changed_fields(patterns)
        return patterns

    def clean_api_version(self) -> str:
        return self.cleaned_data["api_version"] or versions.newest()

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if {"topics", "api_version"} <= given.keys():
            texts = {name: given[name] for name in ("filter", "projection") if name in given}
            for name, error in selection_errors(given["topics"], given["api_version"], **texts).items():
                self.add_error(name, error)
        return given

    def subscription(self, stored: Subscription | None) -> Subscription:
        """The subscription with these choices, not saved."""
        tried = Subscription() if stored is None else Subscription.objects.get(pk=stored.pk)
        for name in CHOICES:
            # A format that is not chosen stays as it is.
            if name != "format" or self.cleaned_data[name]:
                setattr(tried, name, self.cleaned_data[name])
        return tried


class TrialsAdmin(PagesAdmin):
    """A mixin of the subscriptions' admin."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(self.trial_view))
        return [
            path("try/", view, name="orderhooks_subscription_try_new"),
            path("<path:object_id>/try/", view, name="orderhooks_subscription_try"),
            *super().get_urls(),
        ]

    def may_try(self, request: HttpRequest) -> bool:
        may_edit = self.has_add_permission(request) or self.has_change_permission(request)
        return may_edit and request.user.has_perms([permissions.VIEW_EVENT, permissions.VIEW_PAYLOAD])

    @admin.display(description=gettext_lazy("try it"))
    def try_button(self, subscription: Subscription) -> SafeString:
        """A button that sends the form, as it is filled in, to the trial's page in another tab."""
        name, key = ("try", [subscription.pk]) if subscription.pk else ("try_new", [])
        url = reverse(f"{self.admin_site.name}:orderhooks_subscription_{name}", args=key)
        return format_html(
            '<button type="submit" class="button orderhooks-button" formaction="{}" formtarget="_blank" formnovalidate>'
            "{}</button>",
            url,
            _("Try on recent events"),
        )

    # The form of the subscription is sent here with all that it holds.
    @method_decorator(sensitive_post_parameters("headers", "secret", *SECRET_FIELDS))
    def trial_view(self, request: HttpRequest, object_id: str = "") -> HttpResponse:
        if not self.may_try(request):
            raise PermissionDenied
        # Who may only add subscriptions tries the choices of a new one.
        stored = self.subscription_of(request, object_id) if object_id else None
        initial = {name: getattr(stored, name) for name in CHOICES} if stored else {}
        posted, stores = _with_events(request.POST) if request.method == "POST" else None, stores_of(request)
        form = TrialForm(posted, initial=initial, stores=stores)
        found = None
        if request.method == "POST" and form.is_valid():
            at_most = form.cleaned_data["events"] or DEFAULT_EVENTS
            found = trials.run(form.subscription(stored), at_most=at_most, now=timezone.now(), stores=stores)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Try the choices of %s") % stored if stored else _("Try the choices of a new subscription"),
            "opts": self.opts,
            "subscription": stored,
            "form": form,
            "topics": ", ".join(form["topics"].value() or []),
            "rest": [form[name] for name in form.fields if name != "topics"],
            "trials": found,
            "summary": found and summary(found),
            "rows": found and [self._row(request, one, is_example=found.is_example) for one in found.events],
        }
        return TemplateResponse(request, "admin/orderhooks/subscription/try.html", context)

    def _row(self, request: HttpRequest, one: EventTrial, *, is_example: bool) -> dict[str, Any]:
        return {
            "trial": one,
            "badge": badge(LEVELS[one.result], one.result.label),
            "url": "" if is_example else page_url(request, Event, "change", one.event.pk, site=self.admin_site),
            "when": "" if is_example else time_html(one.event.occurred_at),
            "body": bodies.laid_out(one.body.decode(errors="replace"), content_type=one.content_type),
            "size": _("%d bytes") % len(one.body),
        }


def _with_events(posted: QueryDict) -> QueryDict:
    """The subscription's form does not say on how many events they are tried."""
    data = posted.copy()
    data.setdefault("events", str(DEFAULT_EVENTS))
    return data


def summary(found: Trials) -> str:
    """`Of 50 events: 12 would have been sent, 37 left out, 1 held.`"""
    count = len(found.events)
    counts = {"sent": found.count(Trial.SENT), "out": found.count(Trial.LEFT_OUT), "held": found.count(Trial.HELD)}
    text = ngettext(
        "Of %(count)d event: %(sent)d would have been sent, %(out)d left out, %(held)d held.",
        "Of %(count)d events: %(sent)d would have been sent, %(out)d left out, %(held)d held.",
        count,
    )
    return text % {"count": count, **counts}
