"""Links to our own pages: only for users who may open them. Others read the same text without a link."""

from contextlib import suppress
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

__all__ = ["link", "page_url"]


def page_url(
    request: HttpRequest, model: type[Model], page: str, *arguments: object, site: AdminSite, **query: object
) -> str:
    """The URL of a page of one of our models, such as "change" with its key, or "changelist" with a `query`.

    In that admin site, or otherwise in Django's own: a store may have a site of its own for its orders. Blank if
    neither has it, or if the user may not view the model.
    """
    for one in (site, admin.site):
        if not (one.is_registered(model) and one.has_permission(request)):
            continue
        if not one.get_model_admin(model).has_view_permission(request):
            continue
        with suppress(NoReverseMatch):
            url = reverse(f"{one.name}:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)
            return f"{url}?{urlencode(query)}" if query else url
    return ""


def link(url: str, text: object) -> SafeString | str:
    """The text, as a link if there is a URL."""
    return format_html('<a href="{}">{}</a>', url, text) if url else str(text)
