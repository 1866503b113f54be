"""Versions of the body: which subscriptions are behind, what a move to another version changes, and the move."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from orderhooks import operations, permissions, reporting, versions
from orderhooks.admin.buttons import Button, ButtonsAdmin
from orderhooks.admin.links import page_url
from orderhooks.admin.stores import seen_subscriptions, stores_of
from orderhooks.admin.subscriptions.action_forms import VersionForm
from orderhooks.admin.subscriptions.pages import PagesAdmin
from orderhooks.models import Event, Subscription

__all__ = ["VERSION_BUTTONS", "VersionFilter", "VersionsAdmin"]

VERSION_BUTTONS = (Button("move_version", gettext_lazy("Move to another version…"), "change"),)
BEHIND = "behind"


class VersionFilter(admin.SimpleListFilter):
    title = gettext_lazy("version")
    parameter_name = "api_version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = list(reversed(versions.registered()))
        others = model_admin.get_queryset(request).exclude(api_version__in=known).order_by("api_version")
        gone = others.values_list("api_version", flat=True).distinct()
        return [
            (BEHIND, _("behind the newest")),
            *((name, name) for name in known),
            *((name, _("%s, not registered") % name) for name in gone),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        if value == BEHIND:
            return queryset.behind()
        return queryset.none() if "\0" in value else queryset.filter(api_version=value)


class VersionsAdmin(PagesAdmin, ButtonsAdmin):
    """The page of versions and the button that moves to another one. With only one version nothing is shown of it."""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        shown = list(super().get_list_display(request))
        return [*shown[:2], "api_version", *shown[2:]] if tells_versions_apart(request) else shown

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        shown = list(super().get_list_filter(request))
        return [*shown, VersionFilter] if tells_versions_apart(request) else shown

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.versions_view))
        return [path("<path:object_id>/versions/", view, name="orderhooks_subscription_versions"), *super().get_urls()]

    def versions_url(self, subscription: Subscription) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_subscription_versions", args=[subscription.pk])

    def why_not(self, record: Any, button: Button) -> str | Promise:
        if button.name == "move_version" and not list(_others(record)):
            return _("There is only one version of the body.")
        return super().why_not(record, button)

    def versions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        subscription = self.subscription_of(request, object_id)
        others = list(_others(subscription))
        form = VersionForm(request.GET or {"to": others[0] if others else ""}, subscription=subscription)
        move = None
        if others and form.is_valid():
            on_real_events = request.user.has_perm(permissions.VIEW_PAYLOAD)
            to, stores = form.cleaned_data["to"], stores_of(request)
            move = reporting.version_move(subscription, to, on_real_events=on_real_events, stores=stores)
        event = Event.objects.filter(public_id=move.event).only("pk").first() if move and move.event else None
        context = {
            "form": form,
            "move": move,
            "lines": [(_kind(line), line) for line in move.diff] if move else [],
            "event_url": page_url(request, Event, "change", event.pk, site=self.admin_site) if event else "",
            "versions": list(reversed(versions.registered().values())),
            "newest": versions.newest(),
            "may_move": move is not None and self.has_change_permission(request, subscription),
        }
        title = _("Versions of the body for %s") % subscription
        return self.page_response(request, "versions", title, context, subscription=subscription)

    def press_move_version(self, request: HttpRequest, subscription: Subscription) -> HttpResponse | None:
        form = VersionForm(request.POST, subscription=subscription)
        if not form.is_valid():
            # From the button on the subscription's page: the page shows what a move changes.
            return HttpResponseRedirect(self.versions_url(subscription))
        old, new = subscription.api_version, form.cleaned_data["to"]
        try:
            operations.reconfigure(subscription, {"api_version": new})
        except ValidationError as error:
            for name, texts in error.message_dict.items():
                text = _("It stays on %(old)s: its %(field)s does not fit %(new)s. %(problem)s Change it together.")
                values = {"old": old, "new": new, "field": name, "problem": " ".join(texts)}
                self.message_user(request, text % values, messages.ERROR)
            return HttpResponseRedirect(f"{self.versions_url(subscription)}?to={new}")
        text = _("Moved from version %(old)s to %(new)s.") % {"old": old, "new": new}
        self.log_change(request, subscription, text)
        self.message_user(request, f"{text} {_('The next request has it. The way back is on the page of versions.')}")
        return None


def has_several() -> bool:
    """Whether there is more than one version of the body."""
    return len(versions.registered()) > 1


def tells_versions_apart(request: HttpRequest) -> bool:
    """Whether there is more than one version of the body, or the user sees a subscription on another than that."""
    return has_several() or seen_subscriptions(request).behind().exists()


def _others(subscription: Subscription) -> Iterator[str]:
    """The versions that it can be moved to, newest first."""
    return (name for name in reversed(versions.registered()) if name != subscription.api_version)


def _kind(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return "place"
    return {"+": "new", "-": "old"}.get(line[:1], "same")
