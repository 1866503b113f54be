"""No queue: `manage.py orderhooks_work` is the worker. It runs the same pump, one turn after the other."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

from django.core.checks import CheckMessage
from django.db import close_old_connections, connections

from orderhooks import conf, logs, pumping
from orderhooks.db import DatabaseClock
from orderhooks.models import Reconciliation
from orderhooks.tasks import scheduling, task_queue, work
from orderhooks.tasks.names import NOTIFY, PRUNE, PUMP, RECONCILE
from orderhooks.tasks.task_queue import TaskQueue

__all__ = ["OtherQueueError", "OwnWorker", "Worker", "make_worker"]

logger = logs.get_logger(__name__)

# After a turn, settings are read anew, and the daily tasks looked for.
TURN_SECONDS = 60.0
DAY_SECONDS = 24 * 3600.0
# By another worker, or by this one before it was restarted.
RECONCILED_LATELY = timedelta(hours=20)
# After a turn that failed, because the database is away.
PAUSE_SECONDS = 2.0

TASKS = {NOTIFY: work.notify, PRUNE: work.prune, RECONCILE: work.reconcile}


class OwnWorker(TaskQueue):
    worker_command = sweep_command = "manage.py orderhooks_work"
    broker_settings = ""
    task_seconds = TURN_SECONDS
    runs_at_once = False
    enqueues_quickly = True
    takes_tasks = False

    # The worker of this process, if it is one.
    worker: "Worker | None" = None

    def enqueue(self, task: str) -> None:
        """Elsewhere there is nothing to do: the worker looks by itself."""
        if self.worker is not None and task != PUMP:
            self.worker.start(task)

    def has_other_work(self) -> bool:
        return False

    def check(self) -> Iterator[CheckMessage]:
        return iter(())


class Worker:
    """The loop of `orderhooks_work`. Any number of processes may run one, on any number of hosts.

    E-mails, pruning and comparing have a thread of their own, so that sending goes on meanwhile.
    """

    def __init__(self, queue: OwnWorker) -> None:
        self.queue = queue
        self.stopping = threading.Event()
        self._turn: pumping.Turn | None = None
        # When each daily task is due, in monotonic seconds. None of them has run yet.
        self._due_at: dict[str, float] = {}
        # Tasks that wait for the thread.
        self._waiting: set[str] = set()
        self._thread = ThreadPoolExecutor(1, "orderhooks-tasks")

    def run(self) -> None:
        """Deliver until `stop` is called, then end with the requests that are under way."""
        with self._others():
            while not self.stopping.is_set():
                try:
                    self._tidy_up()
                    self._run_turn(stays=True)
                except Exception:
                    logger.exception("a turn failed; the next one begins soon")
                    close_old_connections()
                    self.stopping.wait(PAUSE_SECONDS)

    def run_once(self) -> bool:
        """Deliver what is due now, for at most TURN_SECONDS. Returns whether more is due."""
        with self._others():
            return self._run_turn(stays=False)

    def stop(self) -> None:
        """Have `run` end soon. May be called by a signal handler."""
        self.stopping.set()
        if self._turn is not None:
            self._turn.stop()

    def start(self, task: str) -> None:
        """Run a task beside the pump, unless it waits for that already."""
        if task not in self._waiting:
            self._waiting.add(task)
            self._thread.submit(self._run_task, task)

    def _run_turn(self, *, stays: bool) -> bool:
        self._turn = pumping.Turn(
            other_work=self.queue.has_other_work,
            notices_due=lambda: self.start(NOTIFY),
            longest_seconds=work.longest_attempt_seconds(self.queue),
            lingers=stays,
            keeps_its_worker=stays,
        )
        if self.stopping.is_set():
            self._turn.stop()
        return self._turn.run(until=time.monotonic() + TURN_SECONDS)

    def _run_task(self, task: str) -> None:
        self._waiting.discard(task)
        try:
            TASKS[task]()
        except Exception:
            logger.exception("%s failed; the next turn begins it again if it is a daily one", task)
            self._due_at.pop(task, None)
        finally:
            connections.close_all()

    def _tidy_up(self) -> None:
        """Start the daily tasks: first when the worker starts, for one that is restarted each night."""
        now = time.monotonic()
        for task in scheduling.daily_tasks():
            if now >= self._due_at.get(task, now) and not (task == RECONCILE and _reconciled_lately()):
                # Before it starts: one that fails is due again.
                self._due_at[task] = now + DAY_SECONDS
                self.start(task)

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Let tasks run beside the pump; at the end, wait for the one that runs."""
        self.queue.worker = self
        try:
            yield
        finally:
            self.queue.worker = None
            self._thread.shutdown(cancel_futures=self.stopping.is_set())


class OtherQueueError(Exception):
    """The project has a task queue, whose workers deliver."""


def make_worker() -> Worker:
    """A worker for this process. Raises OtherQueueError unless QUEUE is "none"."""
    queue = task_queue.current()
    if not isinstance(queue, OwnWorker):
        raise OtherQueueError(
            f"ORDERHOOKS['QUEUE'] is {conf.current().queue!r}: start {queue.worker_command}, or set it to 'none'."
        )
    return Worker(queue)


def _reconciled_lately() -> bool:
    since = DatabaseClock().now() - RECONCILED_LATELY
    return Reconciliation.objects.filter(is_scheduled=True, started_at__gt=since).exists()
