"""Calls of the pool's threads that need the database: the main thread runs them, because the connection is its own."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

__all__ = ["Call", "MainThread", "call_here"]

T = TypeVar("T")
# A main thread that is busy for longer has lost its database.
WAIT_SECONDS = 30.0


class Call(Protocol):
    """Runs a function that uses the database, and returns its result or raises its error."""

    def __call__(self, function: Callable[[], T]) -> T: ...


def call_here(function: Callable[[], T]) -> T:
    """Run it in this thread, which may use the database."""
    return function()


class MainThread:
    """Functions that wait for the main thread. `notify` wakes it."""

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._thread = threading.get_ident()
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def call(self, function: Callable[[], T]) -> T:
        """Have the main thread run it, and wait. Raises its error, or TimeoutError."""
        if threading.get_ident() == self._thread:
            return function()
        future: Future[T] = Future()
        self._waiting.put((future, function))
        self._notify()
        return future.result(WAIT_SECONDS)

    def serve(self) -> None:
        """Run what waits. Called by the main thread, outside of transactions."""
        while True:
            try:
                future, function = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)
