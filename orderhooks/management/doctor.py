"""The doctor: examine everything that could keep webhooks from being sent, one thing after the other.

For `orderhooks_doctor`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.core import checks
from django.db import router
from django.db.utils import DatabaseError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import partitions, retention, retention_periods, source_trials, tasks
from orderhooks.db import DatabaseClock
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.reporting import (
    LOSSES_SHOWN_FOR,
    MOST_WAITING,
    Worker,
    alarm_problems,
    backlog_text,
    capture_levels,
    current_backlog,
    ended_versions,
    last_reconciliation,
    losses,
    objective_problems,
    reconciliation_text,
    start_text,
    unpublished_problems,
    unregistered_versions,
    worker_problems,
)
from orderhooks.reporting.attempt_stats import MOST_COUNTED
from orderhooks.reporting.counts import count_text, counted
from orderhooks.reporting.durations import relative_text, span_text
from orderhooks.reporting.endpoint_health import Health, health_of
from orderhooks.reporting.system_status import SubscriptionStatus, subscription_statuses
from orderhooks.sending import claiming

__all__ = ["Finding", "examine"]

Level = Literal["ok", "warn", "fail"]
CLOCKS_APART = timedelta(seconds=5)
# A pump runs within a minute and a half, whatever has died.
OVERDUE = timedelta(minutes=2)
# They are dropped by a daily task.
OVERDUE_PARTITION = timedelta(days=2)
DIVIDED = {
    False: "Attempts are divided by month",
    True: "Attempts are divided by month, events and deliveries by sequence",
}
MAKE_PARTITIONS = (
    "A daily task makes them, and `manage.py orderhooks_partition` at once, which says what is in the way. The log of "
    "`manage.py orderhooks_prune` does too."
)
LET_PARTITIONS_GO = (
    "A delivery of that time waits, or something of the store's own depends on the table: the log of `manage.py "
    "orderhooks_prune` says what."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one examination: a sentence, with the remedy if something is wrong."""

    what: str
    level: Level
    text: str


def examine() -> Iterator[Finding]:
    """Yield the findings of all examinations. One that raises an error yields a `fail`; the others still run."""
    for what, examination in EXAMINATIONS.items():
        try:
            yield from (Finding(what, level, text) for level, text in examination(DatabaseClock().now()))
        except DatabaseError as error:
            text = f"The database reported an error: {error}. Has `manage.py migrate` run?"
            yield Finding(what, "fail", text.replace("\n", " "))
        except Exception as error:
            # It may come from the project's own code. It must not hide the other findings.
            text = f"The examination failed: {type(error).__name__}: {error}. Fix that first."
            yield Finding(what, "fail", text.replace("\n", " "))


# The examinations of the order sources and of versions report these.
EXAMINED_APART = frozenset(f"orderhooks.{check_id}" for check_id in (*source_trials.CHECK_IDS, "W027"))
Found = Iterator[tuple[Level, str]]


def _settings(now: datetime) -> Found:
    messages = checks.run_checks(databases=[router.db_for_write(Event)])
    wrong = [one for one in messages if (one.id or "").startswith("orderhooks.") and one.id not in EXAMINED_APART]
    for message in wrong:
        level: Level = "fail" if message.is_serious() else "warn"
        yield level, f"{message.msg} {message.hint or ''} ({message.id})".replace("  ", " ")
    if not wrong:
        yield "ok", "The system checks find nothing wrong."


def _sources(now: datetime) -> Found:
    unmigrated = source_trials.is_unmigrated()
    faults = [*source_trials.static_faults(), *([] if unmigrated else source_trials.live_faults())]
    for fault in faults:
        of_source = f"{fault.source}: " if fault.source else ""
        yield ("fail" if fault.is_error else "warn"), f"{of_source}{fault.text} {fault.remedy}"
    if unmigrated:
        yield "fail", "Migrations are not applied. Run `manage.py migrate`; the order sources are tried after that."
    elif not faults:
        yield "ok", "The order sources can read and describe their newest orders."
    if not unmigrated:
        for level in capture_levels():
            yield ("ok" if level.is_right else "fail"), level.text


def _clock(now: datetime) -> Found:
    apart = abs(timezone.now() - now)
    if apart > CLOCKS_APART:
        yield "fail", f"This host and its database are {span_text(apart)} apart. Keep their clocks in step (NTP)."
    else:
        yield "ok", "This host and its database agree on the time."


def _broker(now: datetime) -> Found:
    if not (settings := tasks.broker_settings()):
        yield "ok", "There is no broker: the worker looks for work by itself."
    elif problem := tasks.broker_problem():
        missing = "ModuleNotFoundError" in problem or "ImportError" in problem
        remedy = "Install that package." if missing else f"Start it, or correct {settings}."
        kept = "Nothing is lost: the backlog is sent once the broker responds."
        yield "fail", f"The broker can't be reached: {problem}. {remedy} {kept}"
    else:
        yield "ok", "The broker responds."


def _worker(now: datetime) -> Found:
    worker = tasks.look_at_worker()
    problems = worker_problems(worker, now=now, waiting=current_backlog(at_most=MOST_WAITING))
    for problem in problems:
        yield "fail", problem
    if worker.sweep_due_at is None:
        yield (
            "warn",
            (
                "The sweep is off: no worker is started each minute, so deliveries may wait for the next order. "
                'Set ORDERHOOKS["SWEEP"] to True, then run `manage.py migrate`.'
            ),
        )
    elif not problems:
        yield "ok", f"A worker was seen {relative_text(worker.seen_at, now=now)}, {_sweep_text(worker)}."


def _sweep_text(worker: Worker) -> str:
    if worker.sweep_command == worker.worker_command:
        return "and one is started each minute (the sweep)"
    return f"and `{worker.sweep_command}` has to start one each minute (the sweep); saves start workers too"


def _backlog(now: datetime) -> Found:
    lost = Delivery.objects.lease_expired(now=now - OVERDUE).count()
    if lost:
        abandoned = f"{count_text(lost)} deliveries were being sent by workers that are gone,"
        yield "fail", f"{abandoned} and no other worker took them over. {start_text(tasks.worker_command())}"
    late = [
        one.subscription.name
        for one in claiming.due(now=now - OVERDUE)
        if health_of(one.subscription, now=now) != Health.CIRCUIT_OPEN
    ]
    if late:
        yield (
            "warn",
            (
                f"Deliveries have been due for more than {span_text(OVERDUE)} to: {', '.join(sorted(set(late)))}. "
                "Either there are too few workers, or the endpoint takes fewer requests than are due: see its page."
            ),
        )
    waiting = current_backlog(at_most=MOST_WAITING)
    new = waiting.new
    if new.since is not None and now - new.since > OVERDUE:
        late.append("")
        start = start_text(tasks.worker_command())
        yield "fail", f"No worker handles what is new: {backlog_text(new, now=now)} {start}"
    if not lost and not late:
        yield "ok", f"Nothing is overdue. {backlog_text(waiting, now=now)}"


def _losses(now: datetime) -> Found:
    lost = [*losses(now=now), *unpublished_problems()]
    for one in lost:
        yield "fail", one
    if not lost:
        yield "ok", f"No change of an order failed to be captured in the last {LOSSES_SHOWN_FOR.days} days."


def _reconciliation(now: datetime) -> Found:
    last = last_reconciliation()
    if last is None:
        yield "ok", "The orders were never compared with what was published: --reconcile does it."
    else:
        yield ("warn" if last.unpublished() else "ok"), reconciliation_text(last, now=now)


@sensitive_variables()
def _secrets(now: datetime) -> Found:
    unreadable = []
    for subscription in Subscription.objects.prefetch_related("secrets").order_by("name", "pk"):
        try:
            readable = subscription.live_secrets(now=now)
            subscription.own_headers()
            subscription.reveal_login()
        except UndecryptableError:
            unreadable.append(subscription.name)
        else:
            if not readable:
                yield "fail", f"{subscription.name} has no signing secret. Rotate it."
    if unreadable:
        yield (
            "fail",
            (
                f"No configured key decrypts the secrets of {', '.join(unreadable)}. Put the former key back into "
                'ORDERHOOKS["ENCRYPTION_KEYS"]. If that is new, add SECRET_KEY as its last and run `manage.py '
                "orderhooks_reencrypt`; if it is not set, put the former SECRET_KEY into SECRET_KEY_FALLBACKS. Or "
                "rotate them."
            ),
        )
    else:
        yield "ok", "All secrets can be read."


def _endpoints(now: datetime) -> Found:
    found = [text for row in subscription_statuses(now=now) for text in (row.problem(), _held_by(row)) if text]
    for problem in found:
        yield "warn", problem
    if not found:
        yield "ok", "No endpoint is failing."


def _held_by(row: SubscriptionStatus) -> str:
    """What a pause that somebody may have forgotten holds, or blank."""
    if row.health != Health.PAUSED.value or not row.waiting:
        return ""
    held = counted(row.waiting, "delivery is held", "deliveries are held", bound=MOST_COUNTED)
    return (
        f"{row.name} ({row.public_id}): Paused by an operator, and {held}. Resume it once the receiver is ready: you "
        "choose what happens to what waits."
    )


def _objectives(now: datetime) -> Found:
    problems = objective_problems(now=now)
    for problem in problems:
        yield "warn", problem
    if not problems:
        yield "ok", "No subscription misses its objective, or uses up its error budget too fast."


def _alarms(now: datetime) -> Found:
    problems = alarm_problems()
    for problem in problems:
        yield "warn", problem
    if not problems:
        yield "ok", "Somebody is alarmed: ADMINS, or an operational subscription."


def _versions(now: datetime) -> Found:
    unregistered, ended = unregistered_versions(), ended_versions(now=now)
    for text in unregistered:
        yield "fail", text
    for text in ended:
        yield "warn", text
    if not unregistered and not ended:
        yield "ok", "Each subscription is pinned to a registered version of the body that has not ended."


def _partitions(now: datetime) -> Found:
    """Of stores whose tables are divided."""
    if not partitions.are_used():
        return
    cutoffs = retention_periods.current().cutoffs(now=now - OVERDUE_PARTITION)
    old = [month.table for month in partitions.months() if month.ends_at <= cutoffs["attempts"]]
    missing = partitions.missing_months(now=now)
    has_ranges = partitions.are_ranged()
    if has_ranges:
        old += retention.old_ranges(cutoffs)
    if missing:
        names = ", ".join(f"{month:%Y-%m}" for month in missing)
        text = f"These months have no table for their attempts, so orderhooks_attempt_others takes them: {names}."
        yield "warn", f"{text} {MAKE_PARTITIONS}"
    if is_full := has_ranges and not partitions.is_room_left():
        text = "New events have no table of their range, so orderhooks_event_others takes them, and is pruned by rows."
        yield "warn", f"{text} {MAKE_PARTITIONS}"
    if old:
        yield "warn", f"{', '.join(old)} should have been dropped. {LET_PARTITIONS_GO}"
    if not old and not missing and not is_full:
        yield "ok", f"{DIVIDED[has_ranges]}; what comes next has its tables, and none is too old."


EXAMINATIONS: dict[str, Callable[[datetime], Found]] = {
    "settings": _settings,
    "sources": _sources,
    "clock": _clock,
    "broker": _broker,
    "worker": _worker,
    "backlog": _backlog,
    "losses": _losses,
    "reconciliation": _reconciliation,
    "secrets": _secrets,
    "versions": _versions,
    "endpoints": _endpoints,
    "objectives": _objectives,
    "alarms": _alarms,
    "partitions": _partitions,
}
