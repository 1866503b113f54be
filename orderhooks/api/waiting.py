"""Waiting: a request of the feed that finds nothing looks again until something can be read. For `feed`.

No transaction is open meanwhile, and a process has a bounded number of such requests, because each holds a thread.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic

from django.db import connections
from rest_framework.exceptions import APIException

from orderhooks import conf
from orderhooks.db.primary import own_database

__all__ = ["LONGEST_WAIT_SECONDS", "look_until"]

# Proxies and servers commonly end a request that has been silent for a minute.
LONGEST_WAIT_SECONDS = 30
LOOK_EVERY_SECONDS = 0.5
RETRY_AFTER_SECONDS = 5


class TooManyWaitersError(APIException):
    """503: as many requests of this process wait as the setting FEED_WAITERS allows."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "too_many_waiters"
    # DRF sends it as Retry-After.
    wait = RETRY_AFTER_SECONDS


def look_until(found: Callable[[], bool], *, seconds: float) -> None:
    """Call `found` twice a second until it returns True or `seconds` have passed.

    Returns at once inside a transaction, which may never see what others commit. Raises TooManyWaitersError.
    """
    if connections[own_database()].in_atomic_block:
        return
    deadline = monotonic() + seconds
    with _place(most=conf.current().feed_waiters):
        while (left := deadline - monotonic()) > 0:
            sleep(min(LOOK_EVERY_SECONDS, left))
            if found():
                return


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def _place(*, most: int) -> Iterator[None]:
    """One of the places for requests that wait in this process."""
    global _waiting
    with _lock:
        if _waiting >= most:
            raise TooManyWaitersError(_remedy(most))
        _waiting += 1
    try:
        yield
    finally:
        with _lock:
            _waiting -= 1


def _remedy(most: int) -> str:
    if not most:
        return "This server lets no request wait (the setting FEED_WAITERS is 0). Send it without `wait`."
    return f"{most} requests wait already, which is the most. Try again later, or send the request without `wait`."


_lock = threading.Lock()
_waiting = 0
