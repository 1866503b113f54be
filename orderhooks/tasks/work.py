"""What a worker runs, whatever queue it belongs to."""

import time
from datetime import timedelta

from orderhooks import conf, logs, notifications, pumping, reconciling, retention, retention_periods
from orderhooks.db import DatabaseClock
from orderhooks.models import Event, Reconciliation, Subscription
from orderhooks.tasks import task_queue, waking
from orderhooks.tasks.names import NOTIFY, PRUNE, RECONCILE
from orderhooks.tasks.task_queue import TaskQueue

__all__ = ["longest_attempt_seconds", "notify", "prune", "pump", "reconcile"]

logger = logs.get_logger(__name__)


def pump(**_unknown: object) -> None:
    """Do all that is due: coalesce, route, claim, send, record. A task; any number may run at once."""
    queue = task_queue.current()
    longest = longest_attempt_seconds(queue)
    mine = max(task_queue.HAND_OVER_SECONDS, queue.task_seconds - longest - task_queue.HAND_OVER_SECONDS)
    turn = pumping.Turn(
        other_work=lambda: _has_other_work(queue),
        notices_due=lambda: queue.enqueue(NOTIFY),
        longest_seconds=longest,
        # A queue that runs tasks at once runs this one in a save, which waits for it.
        lingers=queue.lingers,
    )
    # There the next save runs a pump; `wake` would run one here, which would call `wake` again, without end.
    if turn.run(until=time.monotonic() + mine) and not queue.runs_at_once:
        waking.wake()


def longest_attempt_seconds(queue: TaskQueue) -> float:
    """A subscription's own limit may be longer than the setting, but not longer than a task may take."""
    own = min(Subscription.objects.longest_timeout_seconds(), queue.task_seconds - 2 * task_queue.HAND_OVER_SECONDS)
    return max(own, conf.current().timeout_seconds)


def notify(**_unknown: object) -> None:
    """Send the alarms that are due. A task of its own: a mail server may be slow."""
    notifications.send_due(now=DatabaseClock().now())
    # A queue that runs tasks at once runs this one in a pump, which goes on.
    if not task_queue.current().runs_at_once and Event.objects.unrouted().exists():
        waking.wake()


def prune(**_unknown: object) -> None:
    """Delete what is finished and old, as long as a task may last; the rest in a task of its own."""
    queue = task_queue.current()
    until = time.monotonic() + queue.task_seconds / 2
    now = DatabaseClock().now()
    before = retention_periods.current().cutoffs(now=now)
    retention.keep_partitions(now=now, before=before)
    while retention.prune(before=before):
        if time.monotonic() > until:
            queue.enqueue(PRUNE)
            break


def reconcile(**_unknown: object) -> None:
    """Compare orders with what was last published of them, as long as a task may last; the rest in a task of its own.

    Reports by e-mail at the end if any differ.
    """
    queue = task_queue.current()
    until = time.monotonic() + queue.task_seconds / 2
    days = conf.current().reconcile_days
    now = DatabaseClock().now()
    running = Reconciliation.objects.under_way()
    if running is None and days is not None:
        running = reconciling.begin(since=now - timedelta(days=days), is_scheduled=True)
    if running is None:
        return
    while running.state == Reconciliation.State.RUNNING:
        if time.monotonic() > until:
            queue.enqueue(RECONCILE)
            return
        reconciling.advance(running, now=DatabaseClock().now())
    notifications.send_reconciliation(running, now=DatabaseClock().now())


def _has_other_work(queue: TaskQueue) -> bool:
    """A broker that is away gives the pump's worker no other work."""
    try:
        return queue.has_other_work()
    except Exception:
        logger.warning("could not ask the broker whether other tasks wait", exc_info=True)
        return False
