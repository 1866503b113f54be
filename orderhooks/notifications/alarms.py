"""Alarms about endpoints: the table of their topics and texts, for e-mails and events alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import conf, payloads
from orderhooks.models import Delivery, Subscription
from orderhooks.models.alarm_states import NotifiedState
from orderhooks.notifications.states import BACKLOG_AFTER
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import relative_text, span_text
from orderhooks.transport.text import without_mail_links

__all__ = ["ALARMS", "BACKLOG", "COUNT_UP_TO", "Alarm", "Report", "data_of", "page", "quoted", "time_text"]

# The key in ALARMS beside the states.
BACKLOG = "backlog"
COUNT_UP_TO = 10_000
MOST_LISTED = 20
NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Alarm:
    """One kind of alarm. `text` has a sentence in each line; `many` is the subject of a digest.

    `wish`: the column by which a subscription's contact chooses this e-mail; blank: it is for ADMINS alone.
    """

    topic: str
    subject: str | Promise
    many: str | Promise
    text: str | Promise
    wish: str


ALARMS: Mapping[str, Alarm] = {
    NotifiedState.FAILING.value: Alarm(
        topic="webhook.subscription.failing",
        subject=gettext_lazy("Webhooks to %s are failing"),
        many=gettext_lazy("Webhooks to %d endpoints are failing"),
        text=gettext_lazy(
            "Every attempt has failed since %(since)s.\nDeliveries that wait: %(waiting)s. They are tried again"
            " automatically."
        ),
        wish="mail_failing",
    ),
    NotifiedState.DISABLING_SOON.value: Alarm(
        topic="webhook.subscription.disabling_soon",
        subject=gettext_lazy("Webhooks to %s will be stopped soon"),
        many=gettext_lazy("Webhooks to %d endpoints will be stopped soon"),
        text=gettext_lazy(
            "Every attempt has failed since %(since)s. Unless one succeeds, nothing more is sent after %(disabled_at)s,"
            " %(left)s.\nDeliveries that wait: %(waiting)s."
        ),
        wish="mail_failing",
    ),
    NotifiedState.DISABLED.value: Alarm(
        topic="webhook.subscription.disabled",
        subject=gettext_lazy("Webhooks to %s were stopped"),
        many=gettext_lazy("Webhooks to %d endpoints were stopped"),
        text=gettext_lazy(
            "%(reason)s\nNothing more is sent until the subscription is resumed. Deliveries that are held: %(waiting)s."
        ),
        wish="mail_disabled",
    ),
    NotifiedState.HEALTHY.value: Alarm(
        topic="webhook.subscription.recovered",
        subject=gettext_lazy("Webhooks to %s are delivered again"),
        many=gettext_lazy("Webhooks to %d endpoints are delivered again"),
        text=gettext_lazy("The endpoint works again. Deliveries that wait: %(waiting)s. Each is sent at its time."),
        wish="mail_recovered",
    ),
    BACKLOG: Alarm(
        topic="webhook.subscription.backlog",
        subject=gettext_lazy("Webhooks to %s are late"),
        many=gettext_lazy("Webhooks to %d endpoints are late"),
        text=gettext_lazy(
            "Deliveries have been due for more than %(late)s. Deliveries that wait: %(waiting)s.\n"
            "Either there are too few workers, or the endpoint takes fewer requests than are due."
        ),
        wish="",
    ),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What an alarm says about one subscription. `waiting` is COUNT_UP_TO + 1 if there is more."""

    subscription: Subscription
    waiting: int
    now: datetime

    @classmethod
    def of(cls, subscription: Subscription, *, now: datetime) -> "Report":
        return cls(subscription, _waiting([subscription]), now)

    @property
    def disabled_at(self) -> datetime | None:
        """When it will be disabled; None if it does not fail."""
        since = self.subscription.failing_since
        return None if since is None else since + timedelta(days=conf.current().disable_after_days)

    def text(self, alarm: Alarm) -> str:
        """The sentences about it, one in each line. They hold no text of the subscriber or the endpoint."""
        return str(alarm.text) % {
            "since": time_text(self.subscription.failing_since),
            "disabled_at": time_text(self.disabled_at),
            "left": relative_text(self.disabled_at, now=self.now),
            "reason": self.subscription.state_reason,
            "late": span_text(BACKLOG_AFTER),
            "waiting": count_text(self.waiting, bound=COUNT_UP_TO),
        }

    def data(self) -> dict[str, Any]:
        """As `data.subscription` of an event."""
        one = self.subscription
        return {
            "id": one.public_id,
            "name": one.name,
            "store": one.store,
            "state": one.state,
            "failing_since": timestamp(one.failing_since),
            "disabled_at": timestamp(self.disabled_at),
            "waiting": self.waiting,
            "url": page(Subscription, "change", one.pk),
        }


def data_of(alarm: Alarm, subscriptions: Sequence[Subscription], *, now: datetime) -> dict[str, Any]:
    """The `data` of the event about these subscriptions: of one, or a digest. See `operational.DATA`."""
    reports = [Report.of(one, now=now) for one in subscriptions[:MOST_LISTED]]
    listed = [report.data() for report in reports]
    is_digest = len(subscriptions) > 1
    if is_digest:
        subject = str(alarm.many) % len(subscriptions)
        message = f"{subject}: {names(subscriptions)}."
        waiting, url = _waiting(subscriptions), page(Subscription, "changelist")
    else:
        subject = str(alarm.subject) % quoted(subscriptions[0].name)
        message = f"{subject}. {' '.join(reports[0].text(alarm).split())}"
        waiting, url = listed[0]["waiting"], listed[0]["url"]
    return {
        "message": message,
        "subscription": None if is_digest else listed[0],
        "subscriptions": listed,
        "count": len(subscriptions),
        "source": "",
        "since": timestamp(min((one.failing_since for one in subscriptions if one.failing_since), default=None)),
        "waiting": waiting,
        "url": url,
    }


def names(subscriptions: Sequence[Subscription]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(quoted(one.name) for one in subscriptions[:MOST_LISTED])
    more = len(subscriptions) - MOST_LISTED
    return shown if more <= 0 else _("%(shown)s and %(more)d more") % {"shown": shown, "more": more}


def _waiting(subscriptions: Sequence[Subscription]) -> int:
    states = [Delivery.State.PENDING, Delivery.State.SENDING]
    waiting = Delivery.objects.filter(subscription__in=subscriptions, state__in=states)
    return waiting[: COUNT_UP_TO + 1].count()


def page(model: type[Model], kind: str, *arguments: object) -> str | None:
    """The URL of a page of the admin. None without the setting BASE_URL, or without the admin."""
    base_url = conf.current().base_url
    try:
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=arguments)
    except NoReverseMatch:
        return None
    return base_url + path if base_url else None


def time_text(at: datetime | None) -> str:
    """A time for people of any zone."""
    return f"{at:%Y-%m-%d %H:%M %Z}" if at else "-"


def timestamp(at: datetime | None) -> str | None:
    """A time as the envelope has it."""
    return payloads.timestamp(at) if at else None


def quoted(name: str) -> str:
    """A subscription's name or an order's number, which a stranger may choose: in quotes, on one line, cut, without
    texts that mail programs turn into links.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    words = without_mail_links(plain).replace('"', "'").split()
    short = " ".join(words)
    return f"“{short[: NAME_CHARACTERS - 1]}…”" if len(short) > NAME_CHARACTERS else f"“{short}”"
