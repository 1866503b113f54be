"""Notices: e-mails to a subscription's contact and the project's ADMINS when an endpoint fails, is disabled, recovers.

What is due follows from the subscription's state and from what was sent last, so that no notice is lost with a queue,
and none is sent for each delivery.
"""

import hashlib
import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db.models import Q
from django.utils.translation import gettext as _

from orderhooks.models import Delivery, Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet

logger = logging.getLogger(__name__)

NotifiedState = Subscription.NotifiedState

# An endpoint that is away for a moment is nobody's business.
FAILING_AFTER = timedelta(hours=1)
# At most one e-mail about a subscription in this time; also the wait after one that could not be sent.
PAUSE = timedelta(minutes=5)
COUNT_UP_TO = 10_000
# To one contact about all subscriptions that name it: the address may be a stranger's.
CONTACT_MAILS_A_DAY = 20
NAME_CHARACTERS = 60


def due(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions whose state is another than their people were last notified of."""
    disabled = Q(state=Subscription.State.DISABLED) & ~Q(last_notified_state=NotifiedState.DISABLED)
    failing = Q(state=Subscription.State.ACTIVE, failing_since__lte=now - FAILING_AFTER) & ~Q(
        last_notified_state=NotifiedState.FAILING
    )
    recovered = Q(state=Subscription.State.ACTIVE, failing_since=None) & ~Q(last_notified_state=NotifiedState.HEALTHY)
    rested = Q(last_notified_at=None) | Q(last_notified_at__lte=now - PAUSE)
    return Subscription.objects.filter(disabled | failing | recovered, rested)


def send_due(*, now: datetime) -> int:
    """Send the e-mails that are due. Returns how many; one that can't be sent is logged and due again later."""
    return sum(_send(subscription, now=now) for subscription in due(now=now))


def _send(subscription: Subscription, *, now: datetime) -> bool:
    if subscription.state == Subscription.State.DISABLED:
        news = NotifiedState.DISABLED
    else:
        news = NotifiedState.FAILING if subscription.failing_since else NotifiedState.HEALTHY
    before = subscription.last_notified_state
    # The UPDATE decides between two workers. It comes before the e-mail, so that a crash sends none twice.
    mine = Subscription.objects.filter(
        pk=subscription.pk, last_notified_state=before, last_notified_at=subscription.last_notified_at
    )
    recipients = _recipients(subscription, news)
    # A resumed subscription is well again only after a success.
    silent = news == NotifiedState.HEALTHY and (subscription.last_success_at is None or before == NotifiedState.HEALTHY)
    if not mine.update(last_notified_state=news, last_notified_at=now) or not recipients or silent:
        return False
    sent = [recipient for recipient in recipients if _send_to(recipient, subscription, news, now=now)]
    if not sent:
        Subscription.objects.filter(pk=subscription.pk, last_notified_state=news).update(last_notified_state=before)
    return bool(sent)


def _send_to(recipient: str, subscription: Subscription, news: str, *, now: datetime) -> bool:
    """One e-mail for each, so that nobody sees who else gets it. Whether it was sent."""
    is_admin = recipient in _admins()
    if not is_admin and not _may_be_written_to(recipient, now=now):
        logger.warning(
            "subscription=%s: no e-mail to its contact, who had enough of them today", subscription.public_id
        )
        return False
    text = _text(subscription, news, is_admin=is_admin)
    try:
        send_mail(_subject(subscription, news), text, None, [recipient])
    except Exception:
        logger.exception("could not send an e-mail about subscription=%s", subscription.public_id)
        return False
    return True


def _may_be_written_to(contact: str, *, now: datetime) -> bool:
    """Whether the address has had fewer than CONTACT_MAILS_A_DAY; if so, one more is counted.

    Counted twice: in the database, by the subscriptions that name it, for all workers; and in the cache, so that a
    subscription that is deleted, or names another contact since, counts on. A cache that fails lets mails through.
    """
    written = Subscription.objects.filter(contact_email__iexact=contact, last_notified_at__gt=now - timedelta(days=1))
    if written[: CONTACT_MAILS_A_DAY + 1].count() > CONTACT_MAILS_A_DAY:
        return False
    # A digest, since not every cache takes every character or length as a key.
    key = hashlib.sha256(f"{contact.lower()} {now:%Y-%m-%d}".encode()).hexdigest()
    try:
        return any(cache.add(f"orderhooks:mail:{key}:{number}", 1, 24 * 3600) for number in range(CONTACT_MAILS_A_DAY))
    except Exception:
        logger.exception("the cache does not answer: e-mails to a contact are counted by the database alone")
        return True


def _admins() -> list[str]:
    # Django 6 takes addresses alone in ADMINS beside pairs of name and address.
    return [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]


def _recipients(subscription: Subscription, news: str) -> list[str]:
    wanted = {
        NotifiedState.FAILING: subscription.mail_failing,
        NotifiedState.DISABLED: subscription.mail_disabled,
        NotifiedState.HEALTHY: subscription.mail_recovered,
    }[NotifiedState(news)]
    contact = [subscription.contact_email] if subscription.contact_email and wanted else []
    return list(dict.fromkeys([*contact, *_admins()]))


def _subject(subscription: Subscription, news: str) -> str:
    said = {
        NotifiedState.FAILING: _("Webhooks to %s are failing"),
        NotifiedState.DISABLED: _("Webhooks to %s were stopped"),
        NotifiedState.HEALTHY: _("Webhooks to %s arrive again"),
    }[NotifiedState(news)]
    return settings.EMAIL_SUBJECT_PREFIX + said % _quoted(subscription.name)


def _quoted(name: str) -> str:
    """A name of somebody's choosing, as such: in quotes, on one line, cut, without what mail programs make links of."""
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    words = plain.replace("://", " ").replace("www.", " ").replace('"', "'").split()
    short = " ".join(words)
    return f"“{short[: NAME_CHARACTERS - 1]}…”" if len(short) > NAME_CHARACTERS else f"“{short}”"


def _text(subscription: Subscription, news: str, *, is_admin: bool) -> str:
    """The mail. A contact, whom anybody may have named, gets no text of the subscriber's or the endpoint's choosing."""
    waiting = Delivery.objects.filter(subscription=subscription, state=Delivery.State.PENDING)
    count = waiting[: COUNT_UP_TO + 1].count()
    held = f"{COUNT_UP_TO:,}+" if count > COUNT_UP_TO else f"{count:,}"
    about = f"{_quoted(subscription.name)} ({subscription.public_id})"
    lines = [f"{about}: {subscription.url}" if is_admin else about, ""]
    if news == NotifiedState.DISABLED:
        lines += [
            subscription.state_reason,
            _("Nothing more is sent until somebody resumes the subscription. %s deliveries are held.") % held,
        ]
    elif news == NotifiedState.FAILING:
        last = waiting.exclude(last_error="").order_by("-id").values_list("last_detail", flat=True).first()
        lines += [
            _("Every attempt has failed since %s.") % f"{subscription.failing_since:%Y-%m-%d %H:%M %Z}",
            *([last] if last and is_admin else []),
            _("%s deliveries are waiting; they are tried again by themselves.") % held,
        ]
    else:
        lines.append(_("The endpoint answers again. %s deliveries are waiting and go out now.") % held)
    return "\n".join(lines)
