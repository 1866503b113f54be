"""Diagnosis: what could keep webhooks from going out, looked at one thing after the other. For `orderhooks_doctor`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.core import checks
from django.db import router
from django.db.utils import DatabaseError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import source_trials, tasks
from orderhooks.db import DatabaseClock
from orderhooks.management import moments, standing
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.reporting import LOSSES_SHOWN_FOR, MOST_WAITING, backlog_text, current_backlog, losses, worker_problems
from orderhooks.reporting.endpoint_health import Health, health_of
from orderhooks.secrets import UndecryptableError
from orderhooks.sending import claiming

__all__ = ["Finding", "examine"]

Level = Literal["ok", "warn", "fail"]
CLOCKS_APART = timedelta(seconds=5)
# A pump comes round within a minute and a half, whatever has died.
OVERDUE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, in a sentence with its remedy."""

    what: str
    level: Level
    text: str


def examine() -> Iterator[Finding]:
    """Every finding; one that can't be made because the database fails is a `fail` itself."""
    for what, look in EXAMINATIONS.items():
        try:
            yield from (Finding(what, level, text) for level, text in look(DatabaseClock().now()))
        except DatabaseError as error:
            yield Finding(
                what, "fail", f"The database answered: {error}. Has `manage.py migrate` run?".replace("\n", " ")
            )
        except Exception as error:
            # Also the project's own code: what can't be looked at must not hide the rest.
            text = f"It could not be looked at: {type(error).__name__}: {error}. Fix that first."
            yield Finding(what, "fail", text.replace("\n", " "))


# The trials of the order sources are told by themselves.
OF_SOURCES = frozenset(f"orderhooks.{check_id}" for check_id in source_trials.CHECK_IDS)
Found = Iterator[tuple[Level, str]]


def _settings(now: datetime) -> Found:
    messages = checks.run_checks(databases=[router.db_for_write(Event)])
    wrong = [one for one in messages if (one.id or "").startswith("orderhooks.") and one.id not in OF_SOURCES]
    for message in wrong:
        level: Level = "fail" if message.is_serious() else "warn"
        yield level, f"{message.msg} {message.hint or ''} ({message.id})".replace("  ", " ")
    if not wrong:
        yield "ok", "The system checks find nothing wrong."


def _sources(now: datetime) -> Found:
    faults = source_trials.static_faults()
    unmigrated = source_trials.is_unmigrated()
    for fault in [*faults, *([] if unmigrated else source_trials.live_faults())]:
        yield ("fail" if fault.check_id.startswith("E") else "warn"), f"{fault.source}: {fault.text} {fault.remedy}"
        faults = [*faults, fault]
    if unmigrated:
        yield "fail", "Migrations are not applied. Run `manage.py migrate`; the order sources are tried after that."
    elif not faults:
        yield "ok", "The order sources can read and describe their newest orders."


def _clock(now: datetime) -> Found:
    apart = abs(timezone.now() - now)
    if apart > CLOCKS_APART:
        yield "fail", f"This host and its database are {moments.span(apart)} apart. Keep their clocks in step (NTP)."
    else:
        yield "ok", "This host and its database agree on the time."


def _broker(now: datetime) -> Found:
    if problem := tasks.broker_problem():
        missing = "ModuleNotFoundError" in problem or "ImportError" in problem
        remedy = "Install that package beside django-q2." if missing else "Start it, or correct Q_CLUSTER."
        yield (
            "fail",
            f"The broker can't be reached: {problem}. {remedy} Nothing is lost: what waits is sent once it answers.",
        )
    else:
        yield "ok", "The broker answers."


def _worker(now: datetime) -> Found:
    worker = tasks.look_at_worker()
    troubles = worker_problems(worker, now=now, waiting=current_backlog(at_most=MOST_WAITING))
    for trouble in troubles:
        yield "fail", trouble
    if worker.sweep_due_at is None:
        yield (
            "warn",
            (
                "The sweep is off: no worker is started each minute, so deliveries may wait for the next order. "
                'Set ORDERHOOKS["SWEEP"] to True, then run `manage.py migrate`.'
            ),
        )
    elif not troubles:
        yield (
            "ok",
            f"A worker was seen {moments.ago(worker.seen_at, now=now)}, and one is started each minute (the sweep).",
        )


def _backlog(now: datetime) -> Found:
    lost = Delivery.objects.lease_expired(now=now - OVERDUE).count()
    if lost:
        yield (
            "fail",
            f"{lost} deliveries were being sent by workers that are gone, and none took them over. {standing.QCLUSTER}",
        )
    late = [
        lane.subscription.name
        for lane in claiming.due_lanes(now=now - OVERDUE)
        if health_of(lane.subscription, now=now) != Health.CIRCUIT_OPEN
    ]
    if late:
        yield (
            "warn",
            (
                f"Deliveries have been due for more than {moments.span(OVERDUE)} to: {', '.join(sorted(set(late)))}. "
                "Either workers are missing, or the endpoint takes less than there is; see its page."
            ),
        )
    waiting = current_backlog(at_most=MOST_WAITING)
    if waiting.unrouted + waiting.unfolded and waiting.since is not None and now - waiting.since > OVERDUE:
        late.append("")
        yield "fail", f"No worker takes up what is new: {backlog_text(waiting, now=now)} {standing.QCLUSTER}"
    if not lost and not late:
        yield "ok", f"Nothing is overdue. {backlog_text(waiting, now=now)}"


def _losses(now: datetime) -> Found:
    lost = losses(now=now)
    for one in lost:
        yield "fail", one
    if not lost:
        yield "ok", f"No change of an order failed to be captured in the last {LOSSES_SHOWN_FOR.days} days."


@sensitive_variables()
def _secrets(now: datetime) -> Found:
    unreadable = []
    for subscription in Subscription.objects.prefetch_related("secrets").order_by("name", "pk"):
        try:
            readable = subscription.live_secrets(now=now)
            subscription.own_headers()
        except UndecryptableError:
            unreadable.append(subscription.name)
        else:
            if not readable:
                yield "fail", f"{subscription.name} has no signing secret. Rotate it."
    if unreadable:
        yield (
            "fail",
            (
                f"No key opens the secrets of {', '.join(unreadable)}. Put the former key back into "
                'ORDERHOOKS["ENCRYPTION_KEYS"] (or the former SECRET_KEY into SECRET_KEY_FALLBACKS), or rotate them.'
            ),
        )
    else:
        yield "ok", "All secrets can be read."


def _endpoints(now: datetime) -> Found:
    troubles = [trouble for row in standing.look(now=now).subscriptions if (trouble := row.trouble())]
    for trouble in troubles:
        yield "warn", trouble
    if not troubles:
        yield "ok", "No endpoint is failing."


EXAMINATIONS: dict[str, Callable[[datetime], Found]] = {
    "settings": _settings,
    "sources": _sources,
    "clock": _clock,
    "broker": _broker,
    "worker": _worker,
    "backlog": _backlog,
    "losses": _losses,
    "secrets": _secrets,
    "endpoints": _endpoints,
}
