"""Bounded looks: what a probe asks of a database or a broker, which may hang longer than a probe waits."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connections

from orderhooks import logs

__all__ = ["Look"]

Found = TypeVar("Found")

logger = logs.get_logger(__name__)

FORGET_SECONDS = 20.0


class Look(Generic[Found]):
    """Looks in a thread of its own, at most one at a time in each process, however many probes come.

    `look` is called with database connections of its own. What it returns is reused for `fresh_seconds`, so that
    strangers who call a probe cannot load what it looks at. `wait_seconds` is how long a probe waits for a look. One
    that hangs stays a single thread, and until it ends no other begins.
    """

    def __init__(self, name: str, look: Callable[[], Found], *, wait_seconds: float, fresh_seconds: float) -> None:
        self.name = name
        self.look = look
        self.wait_seconds = wait_seconds
        self.fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._run: _Run[Found] | None = None

    def found(self, *, wait_seconds: float | None = None) -> Found | None:
        """What the look found. None: it failed, or did not end in time; the log says why.

        `wait_seconds`: how long this caller waits, if not as long as a probe.
        """
        wait_seconds = self.wait_seconds if wait_seconds is None else wait_seconds
        with self._lock:
            run = self._run
            if run is None or run.is_over(fresh_seconds=self.fresh_seconds):
                run = self._run = _Run(self.name, self.look)
                run.start()
        run.join(max(0.0, run.began_at + wait_seconds - time.monotonic()))
        if run.ended_at is None and not run.was_missed:
            run.was_missed = True
            logger.warning("the look at the %s takes longer than %g s", self.name, wait_seconds)
        return run.found

    def forget(self) -> None:
        """Look again the next time. Waits for a look that is under way. For tests."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None and run.is_alive():
            run.join(FORGET_SECONDS)


class _Run(threading.Thread, Generic[Found]):
    """One look."""

    def __init__(self, name: str, look: Callable[[], Found]) -> None:
        super().__init__(name=f"orderhooks-look-{name}", daemon=True)
        self.what = name
        self.look = look
        self.found: Found | None = None
        self.began_at = time.monotonic()
        self.ended_at: float | None = None
        self.was_missed = False

    def run(self) -> None:
        try:
            self.found = self.look()
        except Exception as error:
            # Whatever a database or a client of a broker raises.
            logger.warning("the look at the %s failed: %s: %s", self.what, type(error).__name__, error)
        finally:
            connections.close_all()
            self.ended_at = time.monotonic()

    def is_over(self, *, fresh_seconds: float) -> bool:
        """Whether another look may begin: this one is old, or was left behind in the parent of a fork."""
        if self.ended_at is None:
            return not self.is_alive()
        return time.monotonic() - self.ended_at >= fresh_seconds
