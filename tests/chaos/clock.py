"""A machine whose clock is set while it runs: a file holds the seconds by which it is wrong. Monotonic time goes on."""

import datetime
import importlib
import os
import time


def follow(path: str, *modules: str) -> None:
    """From now on `time.time()` and Django's `timezone.now()` are wrong by what the file says then.

    So is `datetime.now()` in these modules.
    """
    true_time = time.time
    seen: tuple[int, float] = (0, 0.0)

    def shift() -> float:
        nonlocal seen
        written = os.stat(path).st_mtime_ns
        if written != seen[0]:
            with open(path) as file:
                seen = (written, float(file.read() or 0))
        return seen[1]

    class ShiftedDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.fromtimestamp(true_time() + shift(), tz)

    time.time = lambda: true_time() + shift()
    for name in ("django.utils.timezone", *modules):
        importlib.import_module(name).datetime = ShiftedDatetime  # type: ignore[attr-defined]
