"""Signing secrets: rotate with an overlap, revoke the former, reveal. Only the response to a POST holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import operations, permissions, signing
from orderhooks.admin.buttons import Button, ButtonsAdmin
from orderhooks.admin.subscriptions.action_forms import RotationForm
from orderhooks.admin.subscriptions.confirmation import Confirmation, confirm, is_confirmed
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.reporting.durations import span_text, time_text

SECRET_BUTTONS = (
    Button("rotate", _("New secret…"), "change"),
    Button("revoke", _("Revoke former secrets…"), "change", danger=True),
    Button("reveal", _("Reveal secrets"), "reveal"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret on the page that shows it."""

    subscription: Subscription
    secret: str = field(repr=False)
    overlap_hours: int = 0
    is_new: bool = True
    # Whether the user gave it, and so has it.
    is_given: bool = False

    @property
    def public_key(self) -> str:
        return signing.public_key(self.secret)


class SecretsAdmin(ButtonsAdmin):
    """The buttons and actions that have to do with signing secrets."""

    def has_reveal_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(permissions.REVEAL_SECRET)

    def why_not(self, record: Subscription, button: Button) -> str | Promise:
        rows = record.secrets.live(now=timezone.now())
        if button.name == "revoke" and not rows.filter(expires_at__isnull=False).exists():
            return _("It has no former secret any more: the newest one alone signs.")
        if button.name == "reveal" and not rows.filter(public_key="").exists():
            return _("It has no secret to reveal: its public keys are on this page.")
        return super().why_not(record, button)

    @admin.display(description=_("signing secrets"))
    def signing_secrets(self, subscription: Subscription) -> SafeString:
        now = timezone.now()
        rows = [
            (
                _("made %s") % time_text(secret.created_at, now=now),
                _ending(secret.expires_at, now=now),
                secret.public_key,
            )
            for secret in subscription.secrets.live(now=now).order_by("-pk")
        ]
        return format_html_join(SafeString("<br>"), "{} {} {}", rows)

    def press_rotate(self, request: HttpRequest, subscription: Subscription) -> HttpResponse:
        return self._rotate(request, [subscription], onward=self._url_of(subscription))

    @admin.action(description=_("New secrets for the selected subscriptions…"), permissions=["change"])
    def rotate_secret(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> HttpResponse:
        return self._rotate(request, list(queryset), onward=request.get_full_path())

    @sensitive_variables("shown")
    def _rotate(self, request: HttpRequest, subscriptions: Sequence[Subscription], *, onward: str) -> HttpResponse:
        form = RotationForm(request.POST if is_confirmed(request) else None)
        if not form.is_valid():
            confirmation = Confirmation(
                title=ngettext("Make a new signing secret?", "Make new signing secrets?", len(subscriptions)),
                submit=_("Make it"),
                details=[_("The new secret is shown once, on the next page. Give it to the receiver.")],
                form=form,
            )
            return confirm(self, request, confirmation, subscriptions)
        hours = form.cleaned_data["hours"]
        with transaction.atomic(using=Subscription.objects.db):
            shown = [
                Shown(subscription, operations.rotate(subscription, overlap=form.overlap), hours)
                for subscription in subscriptions
            ]
        text = ngettext(
            "Made a new signing secret; the former one signs for %d hour more.",
            "Made a new signing secret; the former one signs for %d hours more.",
            hours,
        )
        for subscription in subscriptions:
            self.log_change(
                request, subscription, text % hours if hours else str(_("Made a new signing secret, the only one."))
            )
        return self.show_secrets(request, shown, onward=onward)

    def press_revoke(self, request: HttpRequest, subscription: Subscription) -> HttpResponse | None:
        return self._revoke(request, [subscription])

    @admin.action(description=_("Revoke former secrets of the selected subscriptions…"), permissions=["change"])
    def revoke_former_secrets(self, request: HttpRequest, queryset: SubscriptionQuerySet) -> HttpResponse | None:
        return self._revoke(request, list(queryset))

    def _revoke(self, request: HttpRequest, subscriptions: Sequence[Subscription]) -> HttpResponse | None:
        if not is_confirmed(request):
            confirmation = Confirmation(
                title=_("Revoke former secrets now?"),
                submit=_("Revoke now"),
                details=[_("The newest secret alone signs then. A receiver that does not have it refuses requests.")],
                danger=True,
            )
            return confirm(self, request, confirmation, subscriptions)
        revoked = 0
        for subscription in subscriptions:
            if count := operations.revoke_former_secrets(subscription):
                self.log_change(request, subscription, str(_("Revoked former signing secrets.")))
                revoked += count
        text = ngettext(
            "%(count)d former secret is revoked: the newest one alone signs now.",
            "%(count)d former secrets are revoked: the newest ones alone sign now.",
            revoked,
        )
        self.message_user(request, text % {"count": revoked})
        return None

    @sensitive_variables("secrets", "shown")
    def press_reveal(self, request: HttpRequest, subscription: Subscription) -> HttpResponse | None:
        try:
            secrets = subscription.reveal_secrets(by=request.user.get_username(), now=timezone.now())
        except UndecryptableError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        self.log_change(request, subscription, str(_("Revealed the signing secrets.")))
        shown = [Shown(subscription, secret, is_new=False) for secret in secrets]
        return self.show_secrets(request, shown, onward=self._url_of(subscription))

    def show_secrets(self, request: HttpRequest, shown: Sequence[Shown], *, onward: str) -> HttpResponse:
        """The page with secrets. A response, not a message: messages wait in cookies or in the session's table."""
        title = ngettext("New signing secret", "New signing secrets", len(shown))
        if all(one.is_given for one in shown):
            title = gettext("Signing secret")
        elif not any(one.is_new for one in shown):
            title = ngettext("Signing secret", "Signing secrets", len(shown))
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "shown": shown,
            "onward": onward or ".",
            "to_test": self._test_of(request, shown),
        }
        # No cache keeps it: the admin says no-store of all its pages.
        return TemplateResponse(request, "admin/orderhooks/subscription/secret.html", context)

    def _test_of(self, request: HttpRequest, shown: Sequence[Shown]) -> str:
        """The URL that tests the subscription with a new secret; blank if there are several, or the user may not."""
        if len(shown) != 1 or not shown[0].is_new or not self.has_change_permission(request):
            return ""
        return reverse(f"{self.admin_site.name}:orderhooks_subscription_test", args=[shown[0].subscription.pk])

    def _url_of(self, subscription: Subscription) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_subscription_change", args=[subscription.pk])


def _ending(expires_at: datetime | None, *, now: datetime) -> str:
    if expires_at is None:
        return ""
    return _("signs until %(time)s, for %(duration)s more") % {
        "time": time_text(expires_at, now=now),
        "duration": span_text(expires_at - now),
    }
