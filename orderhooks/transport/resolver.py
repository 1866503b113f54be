"""The resolver: look host names up in threads, because the system's resolver has no deadline. `sockets` calls it.

# Note [Names that hang]
A query whose name server never responds goes on long after the attempt that needed it has ended. Two rules keep such
names from taking all threads. A caller whose name is already being looked up waits for the same result. And names that
were not found lately share half of the threads; the rest is reserved for names that were (a bulkhead, as in
Note [Bulkhead]). Addresses are not cached: each is judged and used once.
"""

import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Resolver", "ResolverBusyError", "ResolverTimeoutError"]

# A name that hangs holds a thread for longer than an attempt lasts. Two turns of a sender's share for endpoints that
# are not known to respond must leave threads for names that a new process has not found yet. Made on demand.
THREADS = 256
UNKNOWN_SHARE = 2
FEWEST_UNKNOWN = 2
# How many names that were found are remembered.
MOST_KNOWN = 10_000

# The host's addresses, or the error that the system's resolver raised.
Result = list[str] | Exception


class ResolverBusyError(OSError):
    """No thread was free to look the name up, because other names hang."""


class ResolverTimeoutError(OSError):
    """The name was not found in time."""


def system_addresses(host: str, port: int) -> list[str]:
    """The host's addresses by the system's resolver, in the order of getaddrinfo. Raises OSError."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


@dataclass(slots=True)
class DnsQuery:
    """A query that waits for a thread or runs in one. `result` is None until `done` is set."""

    host: str
    port: int
    is_known: bool
    # How many callers wait for it.
    waiting: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    result: Result | None = None


class Resolver:
    """The DNS queries of a process. Threads are made on demand and stay: a new thread costs 15 times a query."""

    def __init__(
        self, threads: int = THREADS, addresses_of: Callable[[str, int], list[str]] = system_addresses
    ) -> None:
        self.threads = threads
        self.addresses_of = addresses_of
        self.changed = threading.Condition()
        self.queries: dict[tuple[str, int], DnsQuery] = {}
        self.queue: deque[DnsQuery] = deque()
        # Names that were found, the latest last.
        self.known: OrderedDict[str, None] = OrderedDict()
        self.started = self.idle = self.unknown_running = 0

    def resolve(self, host: str, port: int, *, timeout_seconds: float) -> Result:
        """The host's addresses, or the error of the system's resolver.

        After `timeout_seconds` without a result: ResolverBusyError if the query had not started, and
        ResolverTimeoutError if it had. Errors are returned, not raised.
        """
        with self.changed:
            query = self.queries.get((host, port))
            if query is None:
                query = self.queries[host, port] = DnsQuery(host, port, host in self.known)
                self.queue.append(query)
                if not self.idle and self.started < self.threads:
                    threading.Thread(target=self._work, name="orderhooks-resolver", daemon=True).start()
                    self.started += 1
                self.changed.notify()
            query.waiting += 1
        query.done.wait(timeout_seconds)
        with self.changed:
            query.waiting -= 1
            if query.result is not None:
                return query.result
            # The next caller starts a new query, in case that a packet was lost. The name is no longer a known one.
            self._forget(query)
            self.known.pop(host, None)
            if query not in self.queue:
                return ResolverTimeoutError(f"{host} was not found in time")
            if not query.waiting:
                self.queue.remove(query)
            return ResolverBusyError("no thread was free to look the name up")

    def _forget(self, query: DnsQuery) -> None:
        key = query.host, query.port
        if self.queries.get(key) is query:
            del self.queries[key]

    def _work(self) -> None:
        while True:
            query = self._next()
            try:
                result: Result = self.addresses_of(query.host, query.port)
            except Exception as error:
                result = error
            self._finish(query, result)

    def _next(self) -> DnsQuery:
        with self.changed:
            while True:
                may_run_unknown = self.unknown_running < max(FEWEST_UNKNOWN, self.threads // UNKNOWN_SHARE)
                chosen = next((query for query in self.queue if query.is_known or may_run_unknown), None)
                if chosen is not None:
                    self.queue.remove(chosen)
                    self.unknown_running += not chosen.is_known
                    return chosen
                self.idle += 1
                self.changed.wait()
                self.idle -= 1

    def _finish(self, query: DnsQuery, result: Result) -> None:
        with self.changed:
            self.unknown_running -= not query.is_known
            self._forget(query)
            if not isinstance(result, Exception):
                self.known[query.host] = None
                self.known.move_to_end(query.host)
                if len(self.known) > MOST_KNOWN:
                    self.known.popitem(last=False)
            query.result = result
            self.changed.notify()
        query.done.set()
