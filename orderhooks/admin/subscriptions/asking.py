"""Asking before something is done: a page with a question, a form where there is a choice, and a button."""

from collections.abc import Sequence
from dataclasses import dataclass

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.functional import Promise

from orderhooks.models import Subscription

# Comes with the answer, and not with the button or the action that led to the question.
ANSWER = "answered"


@dataclass(frozen=True, slots=True)
class Question:
    """`details` are sentences below the title; `submit` stands on the button."""

    title: str | Promise
    submit: str | Promise
    details: Sequence[str | Promise] = ()
    form: forms.Form | None = None
    danger: bool = False


def is_answered(request: HttpRequest) -> bool:
    """Whether the request comes from the page of a question."""
    return ANSWER in request.POST


def ask(
    page: admin.ModelAdmin, request: HttpRequest, question: Question, subscriptions: Sequence[Subscription]
) -> TemplateResponse:
    """The page with the question. Its answer goes to the address that was asked, as the same button or action."""
    hidden = [(ANSWER, "1")]
    if "action" in request.POST:
        hidden.append(("action", request.POST["action"]))
        hidden += [(ACTION_CHECKBOX_NAME, str(subscription.pk)) for subscription in subscriptions]
    context = {
        **page.admin_site.each_context(request),
        "title": question.title,
        "opts": page.opts,
        "question": question,
        "subscriptions": subscriptions,
        "subscription": subscriptions[0] if "action" not in request.POST else None,
        "hidden": hidden,
    }
    return TemplateResponse(request, "admin/orderhooks/subscription/ask.html", context)
