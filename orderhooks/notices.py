"""Notices: e-mails to a subscription's contact and the project's ADMINS when an endpoint fails, is disabled, recovers.

What is due follows from the subscription's state and from what was told last, so that no notice is lost with a queue,
and none is sent for each delivery.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q
from django.utils.translation import gettext as _

from orderhooks.models import Delivery, Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet

logger = logging.getLogger(__name__)

Told = Subscription.Told

# An endpoint that is away for a moment is nobody's business.
FAILING_AFTER = timedelta(hours=1)
# At most one e-mail about a subscription in this time; also the wait after one that could not be sent.
PAUSE = timedelta(minutes=5)
COUNT_UP_TO = 10_000


def due(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions whose people do not know yet how it stands."""
    disabled = Q(state=Subscription.State.DISABLED) & ~Q(told=Told.DISABLED)
    failing = Q(state=Subscription.State.ACTIVE, failing_since__lte=now - FAILING_AFTER) & ~Q(told=Told.FAILING)
    recovered = Q(state=Subscription.State.ACTIVE, failing_since=None) & ~Q(told=Told.WELL)
    rested = Q(told_at=None) | Q(told_at__lte=now - PAUSE)
    return Subscription.objects.filter(disabled | failing | recovered, rested)


def send_due(*, now: datetime) -> int:
    """Send the e-mails that are due. Returns how many; one that can't be sent is logged and due again later."""
    return sum(_send(subscription, now=now) for subscription in due(now=now))


def _send(subscription: Subscription, *, now: datetime) -> bool:
    if subscription.state == Subscription.State.DISABLED:
        news = Told.DISABLED
    else:
        news = Told.FAILING if subscription.failing_since else Told.WELL
    before = subscription.told
    # The UPDATE decides between two workers; told before it is sent, so that a crash sends none twice.
    mine = Subscription.objects.filter(pk=subscription.pk, told=before, told_at=subscription.told_at)
    recipients = _recipients(subscription, news)
    # A resumed subscription is well again only after a success.
    silent = news == Told.WELL and (subscription.last_success_at is None or before == Told.WELL)
    if not mine.update(told=news, told_at=now) or not recipients or silent:
        return False
    try:
        send_mail(_subject(subscription, news), _text(subscription, news), None, recipients)
    except Exception:
        logger.exception("could not send the e-mail about subscription=%s", subscription.public_id)
        Subscription.objects.filter(pk=subscription.pk, told=news).update(told=before)
        return False
    return True


def _recipients(subscription: Subscription, news: str) -> list[str]:
    wanted = {
        Told.FAILING: subscription.mail_failing,
        Told.DISABLED: subscription.mail_disabled,
        Told.WELL: subscription.mail_recovered,
    }[Told(news)]
    contact = [subscription.contact_email] if subscription.contact_email and wanted else []
    # Django 6 takes addresses alone in ADMINS beside pairs of name and address.
    admins = [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]
    return list(dict.fromkeys([*contact, *admins]))


def _subject(subscription: Subscription, news: str) -> str:
    said = {
        Told.FAILING: _("Webhooks to %s are failing"),
        Told.DISABLED: _("Webhooks to %s were stopped"),
        Told.WELL: _("Webhooks to %s arrive again"),
    }[Told(news)]
    return settings.EMAIL_SUBJECT_PREFIX + said % " ".join(subscription.name.split())


def _text(subscription: Subscription, news: str) -> str:
    waiting = Delivery.objects.filter(subscription=subscription, state=Delivery.State.PENDING)
    count = waiting[: COUNT_UP_TO + 1].count()
    held = f"{COUNT_UP_TO:,}+" if count > COUNT_UP_TO else f"{count:,}"
    lines = [f"{subscription.name} ({subscription.public_id}): {subscription.url}", ""]
    if news == Told.DISABLED:
        lines += [
            subscription.state_reason,
            _("Nothing more is sent until somebody resumes the subscription. %s deliveries are held.") % held,
        ]
    elif news == Told.FAILING:
        last = waiting.exclude(last_error="").order_by("-id").values_list("last_detail", flat=True).first()
        lines += [
            _("Every attempt has failed since %s.") % f"{subscription.failing_since:%Y-%m-%d %H:%M %Z}",
            *([last] if last else []),
            _("%s deliveries are waiting; they are tried again by themselves.") % held,
        ]
    else:
        lines.append(_("The endpoint answers again. %s deliveries are waiting and go out now.") % held)
    return "\n".join(lines)
