"""Redelivery: of one by a button, or of many, which are counted and shown first and then done in batches.

Each is in the history of its delivery, with the user.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin, helpers
from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import operations, sending
from orderhooks.models import Delivery, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.reporting import durations
from orderhooks.reporting.counts import count_text

__all__ = ["redeliver", "redeliver_after_confirmation", "redelivery_text", "row_of"]

# More are for a replay, which works in the background.
MOST = 10_000
AT_ONCE = 1000
# What redelivering does at first: whether the retry table begins anew, and whether the subscription is active.
FIRST_ATTEMPT = {
    (True, True): gettext_lazy("Redelivering makes one attempt now."),
    (True, False): gettext_lazy("Redelivering makes one attempt as soon as the subscription is resumed."),
    (False, True): gettext_lazy("Redelivering makes one attempt more, now."),
    (False, False): gettext_lazy("Redelivering makes one attempt more, as soon as the subscription is resumed."),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A chosen delivery: the columns that decide what is done with it."""

    key: int
    state: str
    trigger: str
    subscription: str
    subscription_state: str

    @property
    def is_left(self) -> bool:
        """Not sent again: it is being sent now, or is a test."""
        return self.state == Delivery.State.SENDING or self.trigger == Delivery.Trigger.TEST

    @property
    def is_held(self) -> bool:
        return not self.is_left and self.subscription_state != Subscription.State.ACTIVE


def redelivery_text(delivery: Delivery) -> str:
    """What "Redeliver" causes: an attempt, now or once the subscription is resumed, and what follows if it fails."""
    given, subscription, now = sending.redelivery_of(delivery), delivery.subscription, timezone.now()
    is_active = subscription.state == Subscription.State.ACTIVE
    first, left = FIRST_ATTEMPT[given.begins_anew, is_active], given.automatic_left
    if given.begins_anew:
        then = ngettext(
            "If it fails, %(count)d automatic attempt follows, as for a new one.",
            "If it fails, %(count)d automatic attempts follow, as for a new one.",
            left,
        )
        return f"{first} {then % {'count': left}}"
    next_at = given.next_automatic_at and subscription.after_cooling_down(given.next_automatic_at)
    if next_at is None or next_at <= now or not is_active:
        then = ngettext(
            "The %(count)d automatic attempt stays as it was planned.",
            "The %(count)d automatic attempts stay as they were planned.",
            left,
        )
        return f"{first} {then % {'count': left}}"
    then = ngettext(
        "The %(count)d automatic attempt stays as it was planned (%(when)s).",
        "The %(count)d automatic attempts stay as they were planned; the next is %(when)s.",
        left,
    )
    return f"{first} {then % {'count': left, 'when': durations.relative_text(next_at, now=now)}}"


def redeliver_after_confirmation(
    model_admin: ModelAdmin, request: HttpRequest, chosen: DeliveryQuerySet
) -> HttpResponse | None:
    """The page that says what will happen. None if the request confirms it: then it is done, and messages say so."""
    columns = ("pk", "state", "trigger", "subscription__name", "subscription__state")
    rows = [Row(*row) for row in chosen.values_list(*columns)[: MOST + 1]]
    if len(rows) > MOST:
        text = _(
            "%(count)s deliveries are too many to redeliver at once. Narrow the list with the filters, or use a replay"
            " of their subscription, which works in the background."
        )
        model_admin.message_user(request, text % {"count": count_text(len(rows), bound=MOST)}, messages.ERROR)
        return None
    if "confirmed" in request.POST:
        redeliver(model_admin, request, rows)
        return None
    counts = {
        "count": len(rows),
        "again": sum(not row.is_left for row in rows),
        "left": sum(row.is_left for row in rows),
        "held": sum(row.is_held for row in rows),
        "delivered": sum(row.state == Delivery.State.DELIVERED and not row.is_left for row in rows),
    }
    subscriptions = Counter(row.subscription for row in rows).most_common(20)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Redeliver"),
        "opts": model_admin.opts,
        **counts,
        **{f"{name}_text": count_text(count) for name, count in counts.items()},
        "subscriptions": [(name, count_text(count)) for name, count in subscriptions],
        "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "onward": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/orderhooks/delivery/redeliver.html", context)


def redeliver(model_admin: ModelAdmin, request: HttpRequest, rows: Sequence[Row]) -> None:
    """Do it. Messages say what was done, what was left alone and what is held."""
    user: Any = request.user
    again = 0
    for start in range(0, len(rows), AT_ONCE):
        batch = Delivery.objects.filter(pk__in=[row.key for row in rows[start : start + AT_ONCE]])
        again += operations.redeliver(batch, by=user.get_username())
        # Deliveries that another user redelivered at the same time are not this user's.
        mine = batch.filter(trigger=Delivery.Trigger.MANUAL, requested_by=user.get_username())
        LogEntry.objects.log_actions(user.pk, mine.only("public_id"), CHANGE, _("Redelivered."))
    _show_result(model_admin, request, again=again, left=len(rows) - again, held=sum(row.is_held for row in rows))


def row_of(delivery: Delivery) -> Row:
    """For the button of one."""
    subscription = delivery.subscription
    return Row(delivery.pk, delivery.state, delivery.trigger, subscription.name, subscription.state)


def _show_result(model_admin: ModelAdmin, request: HttpRequest, *, again: int, left: int, held: int) -> None:
    now = max(0, again - held)
    if now or not held:
        text = ngettext("%(count)s delivery is sent again.", "%(count)s deliveries are sent again.", now)
        model_admin.message_user(
            request, text % {"count": count_text(now)}, messages.SUCCESS if now else messages.WARNING
        )
    if left:
        text = ngettext(
            "%(count)s was left alone: it is being sent now, or is a test.",
            "%(count)s were left alone: they are being sent now, or are tests.",
            left,
        )
        model_admin.message_user(request, text % {"count": count_text(left)}, messages.WARNING)
    if held:
        text = ngettext(
            "%(count)s delivery is held until its subscription is active: resume the subscription to send it.",
            "%(count)s deliveries are held until their subscriptions are active: resume those to send them.",
            held,
        )
        model_admin.message_user(request, text % {"count": count_text(held)}, messages.WARNING)
