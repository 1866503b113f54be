"""Look-ups of names: on threads of their own, since the system's resolver knows no deadline. `sockets` asks.

# Note [Names that hang]
A look-up whose name server never answers goes on for long after the attempt that wanted it has ended. So whoever asks
for a name that is being looked up waits for the same answer, and names that are not known to be found in time have a
share of the threads, all together: the rest is kept for those that are (a bulkhead, as in Note [Bulkhead]). Addresses
are not kept: they are judged and used once.
"""

import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Lookups", "NotBegunError", "TooLateError"]

# A silent name holds one for longer than an attempt lasts, and those of two turns of a sender's share for what is not
# known to answer must leave some for names that a new process has not found yet. Made as they are needed.
THREADS = 256
UNKNOWN_SHARE = 2
FEWEST_UNKNOWN = 2
# Names that are remembered to have been found.
MOST_KNOWN = 10_000

Answer = list[str] | Exception


class NotBegunError(OSError):
    """No thread was free to look the name up: other names hang."""


class TooLateError(OSError):
    """The resolver did not answer in time."""


def resolve(host: str, port: int) -> list[str]:
    """By the system's resolver, as getaddrinfo orders them."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


@dataclass(slots=True)
class Question:
    """A look-up that waits or is under way, and its answer once there is one."""

    host: str
    port: int
    is_known: bool
    # How many still want to know.
    asking: int = 0
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class Lookups:
    """The look-ups of a process. Threads are made as they are needed and stay: a new one costs 15 times a look-up."""

    def __init__(self, threads: int = THREADS, resolve: Callable[[str, int], list[str]] = resolve) -> None:
        self.threads = threads
        self.resolve = resolve
        self.changed = threading.Condition()
        self.questions: dict[tuple[str, int], Question] = {}
        self.waiting: deque[Question] = deque()
        # Names that were found, newest last.
        self.known: OrderedDict[str, None] = OrderedDict()
        self.made = self.idle = self.unknown_under_way = 0

    def ask(self, host: str, port: int, *, wait_seconds: float) -> Answer:
        """The host's addresses, or what the resolver raised; NotBegunError or TooLateError after that time."""
        with self.changed:
            question = self.questions.get((host, port))
            if question is None:
                question = self.questions[host, port] = Question(host, port, host in self.known)
                self.waiting.append(question)
                if not self.idle and self.made < self.threads:
                    threading.Thread(target=self._work, name="orderhooks-lookup", daemon=True).start()
                    self.made += 1
                self.changed.notify()
            question.asking += 1
        question.answered.wait(wait_seconds)
        with self.changed:
            question.asking -= 1
            if question.answer is not None:
                return question.answer
            # Whoever asks next begins anew, in case that a packet was lost; the name is no longer a known one.
            self._forget(question)
            self.known.pop(host, None)
            if question not in self.waiting:
                return TooLateError(f"{host} was not looked up in time")
            if not question.asking:
                self.waiting.remove(question)
            return NotBegunError("no thread was free to look a name up")

    def _forget(self, question: Question) -> None:
        key = question.host, question.port
        if self.questions.get(key) is question:
            del self.questions[key]

    def _work(self) -> None:
        while True:
            question = self._next()
            try:
                answer: Answer = self.resolve(question.host, question.port)
            except Exception as error:
                answer = error
            self._end(question, answer)

    def _next(self) -> Question:
        with self.changed:
            while True:
                may = self.unknown_under_way < max(FEWEST_UNKNOWN, self.threads // UNKNOWN_SHARE)
                chosen = next((one for one in self.waiting if one.is_known or may), None)
                if chosen is not None:
                    self.waiting.remove(chosen)
                    self.unknown_under_way += not chosen.is_known
                    return chosen
                self.idle += 1
                self.changed.wait()
                self.idle -= 1

    def _end(self, question: Question, answer: Answer) -> None:
        with self.changed:
            self.unknown_under_way -= not question.is_known
            self._forget(question)
            if not isinstance(answer, Exception):
                self.known[question.host] = None
                self.known.move_to_end(question.host)
                if len(self.known) > MOST_KNOWN:
                    self.known.popitem(last=False)
            question.answer = answer
            self.changed.notify()
        question.answered.set()
