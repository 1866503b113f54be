"""Endpoints: claim the alarms about subscriptions that are due, and send them, one by one or as a digest."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import transaction

from orderhooks.models import Delivery, RaisedAlarm, Subscription
from orderhooks.models.alarm_states import NotifiedState
from orderhooks.notifications import certificates, events, mails, states, system
from orderhooks.notifications.alarms import ALARMS, BACKLOG, Alarm, Report, data_of, names, quoted

__all__ = ["DIGEST_ABOVE", "is_due", "look", "send_due"]


# More alarms of one kind that are due in one turn become one digest: a host that many endpoints share may be down.
DIGEST_ABOVE = 5


def is_due(*, now: datetime) -> bool:
    """Whether `send_due` has something to send."""
    return (
        states.due(now=now).exists()
        or certificates.due(now=now).exists()
        or RaisedAlarm.objects.mails_due(now=now).exists()
    )


def look(*, now: datetime) -> None:
    """Raise the alarms that take a search: backlogs, and sources whose changes make no events. For the pump; `send_due`
    sends their e-mails.
    """
    states.backlogs_cleared(now=now).update(backlog_alarmed_at=None)
    for group in _groups(list(states.backlogs(now=now).order_by("pk"))):
        _raise_backlog(group, now=now)
    system.look_at_sources(now=now)


def send_due(*, now: datetime) -> int:
    """Send the alarms and warnings that are due. Returns the number of subscriptions of which an e-mail was sent.

    An e-mail that can't be sent is logged. One about a state is due again after PAUSE; of a certificate the next
    warning follows.
    """
    sent = 0
    for state in NotifiedState:
        for group in _groups(list(states.due(now=now, state=state).order_by("pk"))):
            sent += _send(group, state, now=now)
    system.send_mails(now=now)
    return sent + sum(certificates.warn(one, now=now) for one in certificates.due(now=now))


def _groups(found: Sequence[Subscription]) -> Iterator[Sequence[Subscription]]:
    """What is alarmed of together. Operational ones are always apart, so that none gets an alarm about itself."""
    together = [one for one in found if not one.operational]
    if len(together) > DIGEST_ABOVE:
        yield together
    else:
        yield from ([one] for one in together)
    yield from ([one] for one in found if one.operational)


def _send(group: Sequence[Subscription], state: NotifiedState, *, now: datetime) -> int:
    """Claim the alarm for those of the group that no other worker has claimed; then send it both ways."""
    alarm = ALARMS[state.value]
    with transaction.atomic(using=Subscription.objects.db):
        loud = [one for one in group if _claim(one, state, now=now) and not _is_silent(one, state)]
        _publish(alarm, [one for one in loud if one.last_alarmed_state != state], now=now)
    to_mail = [one for one in loud if one.last_notified_state != state]
    return _mail(alarm, to_mail, now=now)


def _claim(subscription: Subscription, state: NotifiedState, *, now: datetime) -> bool:
    # The UPDATE decides between two workers.
    mine = Subscription.objects.filter(
        pk=subscription.pk,
        last_notified_state=subscription.last_notified_state,
        last_alarmed_state=subscription.last_alarmed_state,
        last_notified_at=subscription.last_notified_at,
    )
    return bool(mine.update(last_notified_state=state, last_alarmed_state=state, last_notified_at=now))


def _is_silent(subscription: Subscription, state: NotifiedState) -> bool:
    """A resumed subscription has recovered only after a success."""
    if state != NotifiedState.HEALTHY:
        return False
    answered_at = max(filter(None, (subscription.last_success_at, subscription.recovered_at)), default=None)
    failed_at = subscription.last_failure_at
    return answered_at is None or (failed_at is not None and answered_at < failed_at)


def _publish(alarm: Alarm, subscriptions: Sequence[Subscription], *, now: datetime) -> None:
    if subscriptions:
        about = subscriptions[0].public_id if len(subscriptions) == 1 else ""
        events.publish(alarm.topic, data_of(alarm, subscriptions, now=now), now=now, about=about)


def _mail(alarm: Alarm, subscriptions: Sequence[Subscription], *, now: datetime) -> int:
    """Mail ADMINS, one e-mail about several subscriptions, and each contact about its own. Returns of how many
    subscriptions an e-mail was sent. Of the others it is due again.
    """
    is_digest = len(subscriptions) > 1
    to_all = is_digest and _mail_digest(alarm, subscriptions)
    sent = 0
    for one in subscriptions:
        contact = [one.contact_email] if one.contact_email and getattr(one, alarm.wish) else []
        recipients = list(dict.fromkeys([*contact, *mails.admins()]))
        apart = [each for each in recipients if not (is_digest and each in mails.admins())]
        mailed = [each for each in apart if _mail_one(alarm, each, one, now=now)]
        if mailed or to_all:
            sent += 1
        elif recipients:
            mine = Subscription.objects.filter(pk=one.pk, last_notified_at=now)
            mine.update(last_notified_state=one.last_notified_state)
    return sent


def _mail_one(alarm: Alarm, recipient: str, subscription: Subscription, *, now: datetime) -> bool:
    is_admin = recipient in mails.admins()
    lines = [mails.about(subscription, is_admin=is_admin), "", Report.of(subscription, now=now).text(alarm)]
    if is_admin and (last := _last_detail(subscription)):
        lines.append(last)
    subject = str(alarm.subject) % quoted(subscription.name)
    return mails.send(recipient, subject, "\n".join(lines), subscription, now=now)


def _last_detail(subscription: Subscription) -> str:
    """How the endpoint responded last, which a contact, who may be a stranger, does not get."""
    if subscription.state != Subscription.State.ACTIVE or subscription.failing_since is None:
        return ""
    waiting = Delivery.objects.filter(subscription=subscription, state=Delivery.State.PENDING).exclude(last_error="")
    return waiting.order_by("-id").values_list("last_detail", flat=True).first() or ""


def _mail_digest(alarm: Alarm, subscriptions: Sequence[Subscription]) -> bool:
    subject = str(alarm.many) % len(subscriptions)
    return mails.send_to_admins(subject, _digest_text(subject, subscriptions))


def _digest_text(subject: str, subscriptions: Sequence[Subscription]) -> str:
    return f"{subject}:\n\n{names(subscriptions)}"


def _raise_backlog(group: Sequence[Subscription], *, now: datetime) -> None:
    alarm = ALARMS[BACKLOG]
    with transaction.atomic(using=Subscription.objects.db):
        rows = Subscription.objects.filter(backlog_alarmed_at=None)
        mine = [one for one in group if rows.filter(pk=one.pk).update(backlog_alarmed_at=now)]
        if not mine:
            return
        if len(mine) > 1:
            subject = str(alarm.many) % len(mine)
            text = _digest_text(subject, mine)
        else:
            subject = str(alarm.subject) % quoted(mine[0].name)
            text = f"{mails.about(mine[0], is_admin=True)}\n\n{Report.of(mine[0], now=now).text(alarm)}"
        key = f"{alarm.topic} {mine[0].public_id} {now.isoformat()}"
        system.record(key, alarm.topic, subject, text, now=now)
        _publish(alarm, mine, now=now)
