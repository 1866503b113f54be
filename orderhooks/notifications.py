"""Notifications: e-mails to a subscription's contact and to ADMINS when an endpoint fails, is disabled, or recovers,
and before its client certificate ends.

Which e-mails are due follows from the subscription's state and from the last notification. So none is lost with a
queue, and none is sent for each delivery.
"""

import hashlib
import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db.models import Q
from django.utils.translation import gettext as _

from orderhooks.models import Delivery, Reconciliation, Subscription
from orderhooks.models.logins import EXPIRY_WARNINGS, warnings_due
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.reporting import certificate_problem, has_expired, reconciliation_text
from orderhooks.reporting.counts import count_text

logger = logging.getLogger(__name__)

NotifiedState = Subscription.NotifiedState

# An endpoint that fails for a shorter time is not reported.
FAILING_AFTER = timedelta(hours=1)
# The least time between two notifications about a subscription, also after one that could not be sent.
PAUSE = timedelta(minutes=5)
COUNT_UP_TO = 10_000
# The most e-mails to one contact, about all subscriptions that name it: it may be the address of a stranger.
CONTACT_MAILS_A_DAY = 20
NAME_CHARACTERS = 60


def due(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions whose state differs from the last notification about it."""
    disabled = Q(state=Subscription.State.DISABLED) & ~Q(last_notified_state=NotifiedState.DISABLED)
    failing = Q(state=Subscription.State.ACTIVE, failing_since__lte=now - FAILING_AFTER) & ~Q(
        last_notified_state=NotifiedState.FAILING
    )
    recovered = Q(state=Subscription.State.ACTIVE, failing_since=None) & ~Q(last_notified_state=NotifiedState.HEALTHY)
    waited = Q(last_notified_at=None) | Q(last_notified_at__lte=now - PAUSE)
    return Subscription.objects.filter(disabled | failing | recovered, waited)


def certificates_due(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions with a warning about the end of their client certificate that was not sent yet."""
    warnings = Q()
    for number, before in enumerate(EXPIRY_WARNINGS):
        warnings |= Q(expiry_warnings_sent__lte=number, certificate_expires_at__lte=now + before)
    return Subscription.objects.filter(warnings)


def is_due(*, now: datetime) -> bool:
    """Whether `send_due` has something to send."""
    return due(now=now).exists() or certificates_due(now=now).exists()


def send_due(*, now: datetime) -> int:
    """Send the notifications that are due. Returns the number of notifications of which an e-mail was sent.

    A notification that can't be sent is logged. One about a state is due again after PAUSE; of a certificate the next
    warning follows.
    """
    sent = sum(_send(subscription, now=now) for subscription in due(now=now))
    return sent + sum(_warn(subscription, now=now) for subscription in certificates_due(now=now))


def send_reconciliation(reconciliation: Reconciliation, *, now: datetime) -> None:
    """Tell the ADMINS that orders differ from what was last published of them. An e-mail that fails is logged."""
    if not reconciliation.unpublished():
        return
    subject = settings.EMAIL_SUBJECT_PREFIX + _("Orders differ from what was published")
    named = [f"{_quoted(one['number'])} ({one['source']}): {one['kind']}" for one in reconciliation.examples]
    text = "\n".join([reconciliation_text(reconciliation, now=now), "", *named])
    for recipient in _admins():
        try:
            send_mail(subject, text, None, [recipient])
        except Exception:
            logger.exception("could not send an e-mail about a reconciliation")


def _send(subscription: Subscription, *, now: datetime) -> bool:
    if subscription.state == Subscription.State.DISABLED:
        state = NotifiedState.DISABLED
    else:
        state = NotifiedState.FAILING if subscription.failing_since else NotifiedState.HEALTHY
    before = subscription.last_notified_state
    # The UPDATE decides between two workers. It comes before the e-mail, so that a crash sends none twice.
    mine = Subscription.objects.filter(
        pk=subscription.pk, last_notified_state=before, last_notified_at=subscription.last_notified_at
    )
    recipients = _recipients(subscription, state)
    # A resumed subscription has recovered only after a success.
    is_recovery = subscription.last_success_at is not None and before != NotifiedState.HEALTHY
    silent = state == NotifiedState.HEALTHY and not is_recovery
    if not mine.update(last_notified_state=state, last_notified_at=now) or not recipients or silent:
        return False
    sent = [recipient for recipient in recipients if _send_to(recipient, subscription, state, now=now)]
    if not sent:
        Subscription.objects.filter(pk=subscription.pk, last_notified_state=state).update(last_notified_state=before)
    return bool(sent)


def _warn(subscription: Subscription, *, now: datetime) -> bool:
    """Send the warning about the end of a client certificate. Of several that are due, only the last one is sent."""
    sent = warnings_due(subscription.certificate_expires_at, now=now)
    # The UPDATE decides between two workers, as in `_send`.
    mine = Subscription.objects.filter(
        pk=subscription.pk,
        certificate_expires_at=subscription.certificate_expires_at,
        expiry_warnings_sent=subscription.expiry_warnings_sent,
    )
    if not mine.update(expiry_warnings_sent=sent):
        return False
    contact = [subscription.contact_email] if subscription.contact_email else []
    recipients = list(dict.fromkeys([*contact, *_admins()]))
    ended = has_expired(subscription, now=now)
    subject = _("The client certificate for %s has expired") if ended else _("The client certificate for %s ends soon")
    subject = settings.EMAIL_SUBJECT_PREFIX + subject % _quoted(subscription.name)
    problem = certificate_problem(subscription, now=now)
    texts = {one: f"{_about(subscription, is_admin=one in _admins())}\n\n{problem}" for one in recipients}
    mailed = [one for one, text in texts.items() if _mail(one, subscription, subject, text, now=now)]
    return bool(mailed)


def _send_to(recipient: str, subscription: Subscription, state: str, *, now: datetime) -> bool:
    """Send an e-mail to one recipient alone, so that nobody sees the others. Returns whether it was sent."""
    text = _text(subscription, state, is_admin=recipient in _admins())
    return _mail(recipient, subscription, _subject(subscription, state), text, now=now)


def _mail(recipient: str, subscription: Subscription, subject: str, text: str, *, now: datetime) -> bool:
    is_admin = recipient in _admins()
    if not is_admin and not _takes_another(recipient, now=now):
        logger.warning(
            "subscription=%s: no e-mail to its contact, which has reached the limit of the day", subscription.public_id
        )
        return False
    try:
        send_mail(subject, text, None, [recipient])
    except Exception:
        logger.exception("could not send an e-mail about subscription=%s", subscription.public_id)
        return False
    return True


def _takes_another(contact: str, *, now: datetime) -> bool:
    """Whether the contact got fewer than CONTACT_MAILS_A_DAY e-mails. If so, one more is counted.

    They are counted in two places. The database counts the subscriptions that name the contact, for all workers. The
    cache also counts subscriptions that were deleted or name another contact by now. If the cache fails, the database
    counts alone.
    """
    notified = Subscription.objects.filter(contact_email__iexact=contact, last_notified_at__gt=now - timedelta(days=1))
    if notified[: CONTACT_MAILS_A_DAY + 1].count() > CONTACT_MAILS_A_DAY:
        return False
    # A digest, because some caches refuse some characters and long keys.
    key = hashlib.sha256(f"{contact.lower()} {now:%Y-%m-%d}".encode()).hexdigest()
    try:
        return any(cache.add(f"orderhooks:mail:{key}:{number}", 1, 24 * 3600) for number in range(CONTACT_MAILS_A_DAY))
    except Exception:
        logger.exception("the cache fails: e-mails to a contact are counted by the database alone")
        return True


def _admins() -> list[str]:
    # In Django 6, ADMINS may hold addresses as well as pairs of name and address.
    return [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]


def _recipients(subscription: Subscription, state: str) -> list[str]:
    wanted = {
        NotifiedState.FAILING: subscription.mail_failing,
        NotifiedState.DISABLED: subscription.mail_disabled,
        NotifiedState.HEALTHY: subscription.mail_recovered,
    }[NotifiedState(state)]
    contact = [subscription.contact_email] if subscription.contact_email and wanted else []
    return list(dict.fromkeys([*contact, *_admins()]))


def _subject(subscription: Subscription, state: str) -> str:
    subject = {
        NotifiedState.FAILING: _("Webhooks to %s are failing"),
        NotifiedState.DISABLED: _("Webhooks to %s were stopped"),
        NotifiedState.HEALTHY: _("Webhooks to %s are delivered again"),
    }[NotifiedState(state)]
    return settings.EMAIL_SUBJECT_PREFIX + subject % _quoted(subscription.name)


def _quoted(name: str) -> str:
    """A subscription's name or an order's number, which a stranger may choose: in quotes, on one line, cut, without
    texts that mail programs turn into links.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    words = plain.replace("://", " ").replace("www.", " ").replace('"', "'").split()
    short = " ".join(words)
    return f"“{short[: NAME_CHARACTERS - 1]}…”" if len(short) > NAME_CHARACTERS else f"“{short}”"


def _about(subscription: Subscription, *, is_admin: bool) -> str:
    about = f"{_quoted(subscription.name)} ({subscription.public_id})"
    return f"{about}: {subscription.url}" if is_admin else about


def _text(subscription: Subscription, state: str, *, is_admin: bool) -> str:
    """The body. A contact may be a stranger, and gets no text that the subscriber or the endpoint can choose."""
    waiting = Delivery.objects.filter(subscription=subscription, state=Delivery.State.PENDING)
    count = waiting[: COUNT_UP_TO + 1].count()
    held = count_text(count, bound=COUNT_UP_TO)
    lines = [_about(subscription, is_admin=is_admin), ""]
    if state == NotifiedState.DISABLED:
        lines += [
            subscription.state_reason,
            _("Nothing more is sent until the subscription is resumed. %s deliveries are held.") % held,
        ]
    elif state == NotifiedState.FAILING:
        last = waiting.exclude(last_error="").order_by("-id").values_list("last_detail", flat=True).first()
        lines += [
            _("Every attempt has failed since %s.") % f"{subscription.failing_since:%Y-%m-%d %H:%M %Z}",
            *([last] if last and is_admin else []),
            _("%s deliveries are waiting. They are tried again automatically.") % held,
        ]
    else:
        lines.append(_("The endpoint works again. %s deliveries are waiting and are sent now.") % held)
    return "\n".join(lines)
