"""What goes out to a subscription: send a test, pause, resume with a choice of what was held."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import operations, permissions
from orderhooks.admin import bodies
from orderhooks.admin.buttons import Button, ButtonsAdmin
from orderhooks.admin.stores import stores_of
from orderhooks.admin.subscriptions.action_forms import ResumptionForm
from orderhooks.admin.subscriptions.banners import COUNT_UP_TO
from orderhooks.admin.subscriptions.confirmation import Confirmation, confirm, is_confirmed
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.reporting.counts import count_text

State = Subscription.State

ACTION_BUTTONS = (
    Button("test", _("Send a test"), "change", network=True),
    Button("pause", _("Pause"), "change"),
    Button("resume", _("Resume…"), "change"),
)
# Why a button can't be pressed in a state.
NOT_POSSIBLE: dict[tuple[str, str], str | Promise] = {
    ("pause", State.PAUSED): _("It was already paused."),
    ("pause", State.DISABLED): _("It was already disabled: nothing is sent to it."),
    ("resume", State.ACTIVE): _("It is already active."),
}


class ActionsAdmin(ButtonsAdmin):
    """The buttons and actions that test, pause and resume."""

    def why_not(self, record: Subscription, button: Button) -> str | Promise:
        return NOT_POSSIBLE.get((button.name, record.state)) or super().why_not(record, button)

    def press_test(self, request: HttpRequest, subscription: Subscription) -> HttpResponse:
        delivery = operations.send_test(subscription, by=request.user.get_username())
        attempt = delivery.attempts.first()
        outcome = delivery.last_status_code or delivery.last_error or delivery.state
        self.log_change(request, subscription, str(_("Sent a test: %s.") % outcome))
        sees_log = request.user.has_perm(permissions.VIEW_DELIVERY)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Test of %s") % subscription,
            "opts": self.opts,
            "subscription": subscription,
            "delivery": delivery,
            "attempt": attempt,
            # Not left to the template, which would look up a header that is called "items".
            "request_headers": list(attempt.request_headers.items()) if attempt else [],
            "response_headers": list(attempt.response_headers.items()) if attempt else [],
            "response_body": bodies.draw(attempt.response_body, label=_("Response body"))
            if attempt and attempt.response_body
            else "",
            "seconds": attempt.duration_ms / 1000 if attempt else None,
            "sees_log": sees_log,
            "sees_payload": request.user.has_perm(permissions.VIEW_PAYLOAD),
        }
        return TemplateResponse(request, "admin/orderhooks/subscription/test.html", context)

    def press_pause(self, request: HttpRequest, subscription: Subscription) -> None:
        self._pause(request, [subscription])

    def press_resume(self, request: HttpRequest, subscription: Subscription) -> HttpResponse | None:
        return self._resume(request, [subscription])

    @admin.action(description=_("Pause the selected subscriptions"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> None:
        self._pause(request, list(queryset.filter(state=State.ACTIVE)))

    @admin.action(description=_("Resume the selected subscriptions…"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> HttpResponse | None:
        return self._resume(request, list(queryset))

    def _pause(self, request: HttpRequest, subscriptions: Sequence[Subscription]) -> None:
        paused = operations.pause(_rows(subscriptions))
        for subscription in subscriptions:
            self.log_change(request, subscription, str(_("Paused.")))
        self.message_user(
            request,
            ngettext(
                "%(count)d subscription is paused. Its deliveries are held until you resume it.",
                "%(count)d subscriptions are paused. Their deliveries are held until you resume them.",
                paused,
            )
            % {"count": paused},
        )

    def _resume(self, request: HttpRequest, subscriptions: Sequence[Subscription]) -> HttpResponse | None:
        stopped = [subscription for subscription in subscriptions if subscription.state != State.ACTIVE]
        form = ResumptionForm(request.POST if is_confirmed(request) else None)
        if stopped and not form.is_valid():
            return confirm(self, request, _confirmation(stopped, form, stores_of(request)), subscriptions)
        skip_before = form.skip_before(now=timezone.now()) if stopped else None
        resumed = operations.resume(_rows(stopped), skip_before=skip_before, stores=stores_of(request))
        how = ngettext("Resumed; %s delivery skipped.", "Resumed; %s deliveries skipped.", resumed.skipped)
        skipped = count_text(resumed.skipped)
        for subscription in stopped:
            self.log_change(request, subscription, how % skipped if len(stopped) == 1 else str(_("Resumed.")))
        text = ngettext(
            "%(count)d subscription is active again. What was held for it is sent now.",
            "%(count)d subscriptions are active again. What was held for them is sent now.",
            resumed.subscriptions,
        )
        if skip_before is not None:
            text = ngettext(
                "%(count)d subscription is active again. Deliveries skipped: %(skipped)s.",
                "%(count)d subscriptions are active again. Deliveries skipped: %(skipped)s.",
                resumed.subscriptions,
            )
        self.message_user(request, text % {"count": resumed.subscriptions, "skipped": skipped})
        return None


def _rows(subscriptions: Sequence[Subscription]) -> SubscriptionQuerySet:
    return Subscription.objects.filter(pk__in=[subscription.pk for subscription in subscriptions])


def _confirmation(
    subscriptions: Sequence[Subscription], form: ResumptionForm, stores: Collection[str] | None
) -> Confirmation:
    now, most = timezone.now(), COUNT_UP_TO + 1
    counts = [
        count_text(operations.held(subscriptions, since=since, most=most, stores=stores), bound=COUNT_UP_TO)
        for since in (None, now - timedelta(hours=1), now - timedelta(days=1), now - timedelta(days=7))
    ]
    return Confirmation(
        title=_("Resume: what should happen to the held deliveries?"),
        submit=_("Resume"),
        details=[
            _("Deliveries held: %s.") % counts[0],
            _("Of these from the last hour: %(hour)s, from the last day: %(day)s, from the last week: %(week)s.")
            % {"hour": counts[1], "day": counts[2], "week": counts[3]},
        ],
        form=form,
    )
