"""The warnings before a client certificate ends."""

from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext as _

from orderhooks.models import Subscription
from orderhooks.models.logins import EXPIRY_WARNINGS, warnings_due
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.notifications import mails
from orderhooks.notifications.alarms import quoted
from orderhooks.reporting import certificate_problem, has_expired

__all__ = ["due", "warn"]


def due(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions with a warning about the end of their client certificate that was not sent yet."""
    warnings = Q()
    for number, before in enumerate(EXPIRY_WARNINGS):
        warnings |= Q(expiry_warnings_sent__lte=number, certificate_expires_at__lte=now + before)
    return Subscription.objects.filter(warnings)


def warn(subscription: Subscription, *, now: datetime) -> bool:
    """Send the warning about the end of a client certificate. Of several that are due, only the last one is sent."""
    sent = warnings_due(subscription.certificate_expires_at, now=now)
    # The UPDATE decides between two workers, and comes before the e-mail, so that a crash sends none twice.
    mine = Subscription.objects.filter(
        pk=subscription.pk,
        certificate_expires_at=subscription.certificate_expires_at,
        expiry_warnings_sent=subscription.expiry_warnings_sent,
    )
    if not mine.update(expiry_warnings_sent=sent):
        return False
    contact = [subscription.contact_email] if subscription.contact_email else []
    recipients = list(dict.fromkeys([*contact, *mails.admins()]))
    ended = has_expired(subscription, now=now)
    subject = _("The client certificate for %s has expired") if ended else _("The client certificate for %s ends soon")
    subject %= quoted(subscription.name)
    problem = certificate_problem(subscription, now=now)
    texts = {one: f"{mails.about(subscription, is_admin=one in mails.admins())}\n\n{problem}" for one in recipients}
    mailed = [one for one, text in texts.items() if mails.send(one, subject, text, subscription, now=now)]
    return bool(mailed)
