"""Waking a worker: what a save does, and the thread that talks to brokers for it."""

import atexit
import os
import threading
import time

from django.db import connections

from orderhooks import logs
from orderhooks.models import Pump
from orderhooks.tasks import task_queue
from orderhooks.tasks.names import PUMP

__all__ = ["let_the_waker_finish", "wake"]

logger = logs.get_logger(__name__)

EXIT_SECONDS = 2.0


def wake() -> None:
    """Wake a worker. Never raises and never waits for a broker; nothing is lost if the wake-up is.

    If a pump is at work, nothing is enqueued: PostgreSQL notifies it, and on other databases it looks by itself. A pump
    looks once more after its heartbeat has ended.
    """
    try:
        if Pump.notify():
            return
        queue = task_queue.current()
        if queue.enqueues_quickly:
            queue.enqueue(PUMP)
        else:
            _waker().due.set()
    except Exception:
        logger.exception("could not wake a worker; the sweep will")


class _Waker(threading.Thread):
    """Talks to the broker, so that no save has to wait for one that is slow or gone. One for each process."""

    def __init__(self) -> None:
        super().__init__(name="orderhooks-waker", daemon=True)
        self.pid = os.getpid()
        self.due = threading.Event()
        self.idle = threading.Event()

    def run(self) -> None:
        while True:
            self.idle.set()
            self.due.wait()
            self.idle.clear()
            self.due.clear()
            try:
                task_queue.current().enqueue(PUMP)
            except Exception:
                logger.exception("could not reach the broker; the sweep will wake a worker")
            # If the queue runs tasks at once, the pump ran here.
            connections.close_all()


_the_waker: _Waker | None = None
_waker_lock = threading.Lock()


def _waker() -> _Waker:
    global _the_waker
    with _waker_lock:
        if _the_waker is None or _the_waker.pid != os.getpid():
            _the_waker = _Waker()
            _the_waker.start()
        return _the_waker


def let_the_waker_finish(seconds: float = EXIT_SECONDS) -> None:
    """Wait a short time for a wake-up that is on its way to the broker."""
    waker = _the_waker
    if waker is not None and waker.pid == os.getpid():
        end = time.monotonic() + seconds
        while (waker.due.is_set() or not waker.idle.is_set()) and time.monotonic() < end:
            waker.idle.wait(0.05)


# Otherwise a command that places an order and ends would leave its wake-up behind.
atexit.register(let_the_waker_finish)
