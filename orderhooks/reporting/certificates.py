"""Client certificates: what they say, and the warning before one ends, for admin, commands and e-mails."""

from collections.abc import Collection
from datetime import datetime

from django.utils.translation import gettext as _

from orderhooks.models import Subscription
from orderhooks.models.logins import EXPIRY_WARNINGS
from orderhooks.reporting.durations import relative_text, time_text

__all__ = ["certificate_problem", "certificate_problems", "certificate_text", "has_expired"]

# The list of subscriptions shows the others.
MOST_SHOWN = 10


def certificate_text(subscription: Subscription, *, now: datetime) -> str:
    """Whose it is, who issued it, and when it is valid; "" without one."""
    facts = subscription.certificate_facts
    if facts is None:
        return ""
    times = {"from": time_text(facts.not_before, now=now), "until": time_text(facts.not_after, now=now)}
    if facts.not_before > now:
        validity = _("Not valid yet: from %(from)s until %(until)s.") % times
    elif facts.not_after <= now:
        validity = _("Expired at %(until)s.") % times
    else:
        left = relative_text(facts.not_after, now=now)
        validity = _("Valid until %(until)s, it ends %(left)s.") % {**times, "left": left}
    return _("%(subject)s, issued by %(issuer)s. %(validity)s SHA-256: %(fingerprint)s") % {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "validity": validity,
        "fingerprint": facts.fingerprint,
    }


def certificate_problem(subscription: Subscription, *, now: datetime) -> str:
    """That the client certificate has expired, will soon, or is not valid yet, with the remedy; otherwise ""."""
    facts = subscription.certificate_facts
    if facts is not None and facts.not_before > now:
        return _("Its client certificate is not valid before %(at)s: nothing is sent to it until then.") % {
            "at": time_text(facts.not_before, now=now)
        }
    at = subscription.certificate_expires_at
    if at is None or at - now > EXPIRY_WARNINGS[0]:
        return ""
    values = {"at": time_text(at, now=now), "relative": relative_text(at, now=now)}
    if at <= now:
        text = _(
            "Its client certificate expired %(relative)s, at %(at)s: nothing is sent to it. Give the subscription a new"
            " one; its deliveries are tried again automatically."
        )
    else:
        text = _(
            "Its client certificate expires %(relative)s, at %(at)s. Give the subscription a new one before:"
            " afterwards nothing is sent to it."
        )
    # Not "2:30 a.m..".
    return (text % values).replace("..", ".")


def certificate_problems(*, now: datetime, stores: Collection[str] | None = None, alarms: bool = True) -> list[str]:
    """The same of subscriptions that have such a problem, MOST_SHOWN at most, the most urgent first. One query.

    `stores`: only of subscriptions to these stores; None for all. `alarms`: of operational ones too.
    """
    seen = Subscription.objects.of_stores(stores, operational=alarms)
    ending = seen.filter(certificate_expires_at__lte=now + EXPIRY_WARNINGS[0])
    return [
        f"{one.name} ({one.public_id}): {certificate_problem(one, now=now)}"
        for one in ending.order_by("certificate_expires_at", "pk")[:MOST_SHOWN]
    ]


def has_expired(subscription: Subscription, *, now: datetime) -> bool:
    """Whether it has a client certificate that has ended."""
    return subscription.certificate_expires_at is not None and subscription.certificate_expires_at <= now
