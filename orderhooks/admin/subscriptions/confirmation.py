"""Confirmation before something is done: a page that asks, with a form where there is a choice, and a button."""

from collections.abc import Sequence
from dataclasses import dataclass

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.functional import Promise

from orderhooks.models import Subscription

# Comes with the confirmation, and not with the button or the action that led to it.
CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """`details` are sentences below the title; `submit` stands on the button."""

    title: str | Promise
    submit: str | Promise
    details: Sequence[str | Promise] = ()
    form: forms.Form | None = None
    danger: bool = False


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the request comes from the page that asks for confirmation."""
    return CONFIRMED in request.POST


def confirm(
    model_admin: admin.ModelAdmin,
    request: HttpRequest,
    confirmation: Confirmation,
    subscriptions: Sequence[Subscription],
) -> TemplateResponse:
    """The page that asks for confirmation. Its form is sent to the same URL, as the same button or action."""
    hidden = [(CONFIRMED, "1")]
    if "action" in request.POST:
        hidden.append(("action", request.POST["action"]))
        hidden += [(ACTION_CHECKBOX_NAME, str(subscription.pk)) for subscription in subscriptions]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": confirmation.title,
        "opts": model_admin.opts,
        "confirmation": confirmation,
        "subscriptions": subscriptions,
        "subscription": subscriptions[0] if "action" not in request.POST else None,
        "hidden": hidden,
    }
    return TemplateResponse(request, "admin/orderhooks/subscription/confirmation.html", context)
