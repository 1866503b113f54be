"""Pages to read: an order's request before it is sent, code for receivers, and the topics with their schemas."""

import json
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from orderhooks import catalogue, operations, payloads, permissions, topics
from orderhooks.admin import bodies
from orderhooks.admin.stores import stores_of
from orderhooks.admin.subscriptions import code_samples
from orderhooks.admin.subscriptions.action_forms import PreviewForm
from orderhooks.models import Subscription
from orderhooks.previews import PreviewError

# What is below the URL of a subscription's page, and what it is called there.
LINKS = {
    "preview": _("Preview an order's request"),
    "code_samples": _("Code for the receiver"),
    "versions": _("Versions of the body"),
}


class PagesAdmin(admin.ModelAdmin):
    """Pages beside a subscription's own, all by GET. They change nothing."""

    def get_urls(self) -> list[URLPattern]:
        def route(below: str, view: Any, name: str) -> URLPattern:
            wrapped = self.admin_site.admin_view(require_safe(view))
            pattern: URLPattern = path(below, wrapped, name=f"orderhooks_subscription_{name}")
            return pattern

        return [
            route("topics/", self.topics_view, "topics"),
            route("<path:object_id>/preview/", self.preview_view, "preview"),
            route("<path:object_id>/code-samples/", self.code_samples_view, "code_samples"),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        record = super().get_object(request, object_id, from_field)
        if record is not None:
            # A read-only field does not get the request, and so not the user.
            may_preview = self.may_preview(request) and not record.operational
            record._links = [name for name in LINKS if name != "preview" or may_preview]
        return record

    def may_preview(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and request.user.has_perm(permissions.VIEW_PAYLOAD)

    @admin.display(description=_("more"))
    def more(self, subscription: Subscription) -> SafeString:
        site = self.admin_site.name
        links = [
            (reverse(f"{site}:orderhooks_subscription_{name}", args=[subscription.pk]), LINKS[name])
            for name in getattr(subscription, "_links", ())
        ]
        links.append((reverse(f"{site}:orderhooks_subscription_topics"), _("Topics and what they bring")))
        return format_html_join(SafeString("<br>"), '<a href="{}">{}</a>', links)

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        subscription = self.subscription_of(request, object_id)
        if not self.may_preview(request):
            raise PermissionDenied
        form = PreviewForm(request.GET or None, subscription=subscription)
        shown, body, raw, problem = None, "", "", ""
        if form.is_valid():
            number, topic = form.cleaned_data["order"], form.cleaned_data["topic"]
            try:
                now, stores = timezone.now(), stores_of(request)
                shown = operations.preview(subscription, number, topic=topic, now=now, stores=stores)
                raw = shown.body.decode(errors="replace")
                body = bodies.laid_out(raw, content_type=shown.headers["content-type"])
            except PreviewError as error:
                problem = str(error)
        context = {
            "form": form,
            "shown": shown,
            # Not left to the template, which would look up a header that is called "items".
            "headers": list(shown.headers.items()) if shown else [],
            "body": body,
            "raw": raw,
            "problem": problem,
            "left_out": payloads.REDACTED if topics.matches(subscription.topics, payloads.REDACTED) else "",
        }
        title = _("Preview for %s") % subscription
        return self.page_response(request, "preview", title, context, subscription=subscription)

    def code_samples_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        subscription = self.subscription_of(request, object_id)
        context = {
            "headers": code_samples.headers_of(subscription),
            "key_note": code_samples.key_note(subscription.signature),
            "snippets": code_samples.snippets_for(subscription),
            "secret_variable": code_samples.SECRET_VARIABLE,
        }
        title = _("Code for the receiver of %s") % subscription
        return self.page_response(request, "code_samples", title, context, subscription=subscription)

    def topics_view(self, request: HttpRequest) -> HttpResponse:
        # Who adds a subscription chooses its topics.
        if not (self.has_view_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        entries = [(entry, _pretty(entry.schema), _pretty(entry.example)) for entry in catalogue.entries()]
        return self.page_response(request, "topics", _("Topics and what they bring"), {"entries": entries})

    def subscription_of(self, request: HttpRequest, object_id: str) -> Subscription:
        subscription: Subscription | None = self.get_object(request, object_id)
        if subscription is None:
            raise Http404
        if not self.has_view_permission(request, subscription):
            raise PermissionDenied
        return subscription

    def page_response(
        self, request: HttpRequest, name: str, title: Any, context: dict[str, Any], **more: Any
    ) -> HttpResponse:
        whole = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            **context,
            **more,
        }
        return TemplateResponse(request, f"admin/orderhooks/subscription/{name}.html", whole)


def _pretty(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False)
