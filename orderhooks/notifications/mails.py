"""E-mails: to ADMINS, and to the contact of a subscription, who may be a stranger."""

import hashlib
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db.models import Q

from orderhooks import logs
from orderhooks.models import Subscription
from orderhooks.notifications.alarms import quoted

__all__ = ["CONTACT_MAILS_A_DAY", "about", "admins", "send", "send_to_admins"]

logger = logs.get_logger(__name__)

# The most e-mails to one contact, about all subscriptions that name it: it may be the address of a stranger.
CONTACT_MAILS_A_DAY = 20


def admins() -> list[str]:
    """The addresses of ADMINS."""
    # In Django 6, ADMINS may hold addresses as well as pairs of name and address.
    return [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]


def about(subscription: Subscription, *, is_admin: bool) -> str:
    """The first line of an e-mail. A contact gets no text that the subscriber can choose, but the quoted name."""
    line = f"{quoted(subscription.name)} ({subscription.public_id})"
    return f"{line}: {subscription.url}" if is_admin else line


def send_to_admins(subject: str, text: str) -> bool:
    """Send each of ADMINS an e-mail. Returns whether one was sent."""
    return bool([recipient for recipient in admins() if _send(recipient, subject, text)])


def send(recipient: str, subject: str, text: str, subscription: Subscription, *, now: datetime) -> bool:
    """Send ADMINS or the subscription's contact an e-mail, within the contact's limit. Returns whether it was sent."""
    if recipient not in admins() and not _takes_another(recipient, subscription, now=now):
        logger.warning(
            "no e-mail to a contact, which has reached the limit of the day", subscription=subscription.public_id
        )
        return False
    return _send(recipient, subject, text, subscription=subscription.public_id)


def _send(recipient: str, subject: str, text: str, *, subscription: str | None = None) -> bool:
    # To one recipient alone, so that nobody sees the others.
    try:
        send_mail(settings.EMAIL_SUBJECT_PREFIX + subject, text, None, [recipient])
    except Exception:
        logger.exception("could not send an e-mail", subscription=subscription)
        return False
    return True


def _takes_another(contact: str, subscription: Subscription, *, now: datetime) -> bool:
    """Whether the contact got fewer than CONTACT_MAILS_A_DAY e-mails. If so, one more is counted.

    They are counted in two places. The database counts the subscriptions that name the contact, for all workers. The
    cache also counts subscriptions that were deleted or name another contact by now. If the cache fails, the database
    counts alone.
    """
    # Of those that were claimed together with this one, each takes its turn.
    in_turn = Q(last_notified_at__lt=now) | Q(last_notified_at=now, pk__lte=subscription.pk)
    notified = Subscription.objects.filter(
        in_turn, contact_email__iexact=contact, last_notified_at__gt=now - timedelta(days=1)
    )
    if notified[: CONTACT_MAILS_A_DAY + 1].count() > CONTACT_MAILS_A_DAY:
        return False
    # A digest, because some caches refuse some characters and long keys.
    key = hashlib.sha256(f"{contact.lower()} {now:%Y-%m-%d}".encode()).hexdigest()
    try:
        return any(cache.add(f"orderhooks:mail:{key}:{number}", 1, 24 * 3600) for number in range(CONTACT_MAILS_A_DAY))
    except Exception:
        logger.exception("the cache fails: e-mails to a contact are counted by the database alone")
        return True
