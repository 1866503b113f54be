"""Waiting: a request of the feed that finds nothing looks again until something can be read. For `feed`.

No transaction is open meanwhile, and a process has a bounded number of such requests, because each holds a thread.
A user has at most half of them, so that one alone does not keep the others from waiting.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
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
REMEDY = "Try again later, or send the request without `wait`."


class TooManyWaitersError(APIException):
    """503: as many requests of this process, or of this user in it, wait as the setting FEED_WAITERS allows."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "too_many_waiters"
    # DRF sends it as Retry-After.
    wait = RETRY_AFTER_SECONDS


def look_until(found: Callable[[], bool], *, seconds: float, user: Hashable) -> None:
    """Call `found` twice a second until it returns True or `seconds` have passed.

    `user`: the primary key of the user whose request waits.
    Returns at once inside a transaction, which may never see what others commit. Raises TooManyWaitersError.
    """
    if connections[own_database()].in_atomic_block:
        return
    deadline = monotonic() + seconds
    with _place(user, most=conf.current().feed_waiters):
        while (left := deadline - monotonic()) > 0:
            sleep(min(LOOK_EVERY_SECONDS, left))
            if found():
                return


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def _place(user: Hashable, *, most: int) -> Iterator[None]:
    """One of the places for requests that wait in this process."""
    most_of_user = max(1, most // 2)
    with _lock:
        if _waiting.total() >= most:
            raise TooManyWaitersError(_remedy(most))
        if _waiting[user] >= most_of_user:
            raise TooManyWaitersError(f"{most_of_user} of your requests wait already, which is the most. {REMEDY}")
        _waiting[user] += 1
    try:
        yield
    finally:
        with _lock:
            _waiting[user] -= 1
            if not _waiting[user]:
                del _waiting[user]


def _remedy(most: int) -> str:
    if not most:
        return "This server lets no request wait (the setting FEED_WAITERS is 0). Send it without `wait`."
    return f"{most} requests wait already, which is the most. {REMEDY}"


_lock = threading.Lock()
# How many requests of each user wait.
_waiting: Counter[Hashable] = Counter()
