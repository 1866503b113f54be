"""For templates of Oscar's dashboard: `{% load orderhooks_oscar %}`."""

from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse

from orderhooks.contrib.oscar.views import may_see

register = template.Library()


@register.simple_tag(takes_context=True)
def order_webhooks_url(context: Any, number: str) -> str:
    """The URL of an order's webhooks. Blank if the user may not see them, or the shop has not included the page."""
    if not may_see(context["request"].user):
        return ""
    try:
        return reverse("orderhooks_oscar:order-webhooks", args=[number])
    except NoReverseMatch:
        return ""
