"""The ledger: a receiver on loopback that records each request and responds to each path as it is configured.

It runs on a thread of its own; what the suite compares with the database is `entries`.
"""

import asyncio
import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from tests.servers import HOST

KEPT_BODY_BYTES = 4096


@dataclass(slots=True)
class Entry:
    """A request as it came. `answered`: the status that was sent back; None as long as nothing was.

    `begun`: the status of a response that may never end.
    """

    path: str
    headers: Mapping[str, str]
    digest: str
    # Empty for one that is too long to keep.
    body: bytes = field(repr=False)
    # Of the sender's end of the connection: who it was.
    port: int
    at: float
    begun: int | None = None
    answered: int | None = None

    @property
    def event(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def topic(self) -> str:
        return self.headers.get("webhook-topic", "")

    @property
    def attempt(self) -> int:
        return int(self.headers.get("webhook-attempt", 0))

    @property
    def succeeded(self) -> bool:
        return self.answered is not None and 200 <= self.answered < 300


@dataclass(frozen=True, slots=True)
class Answer:
    """`after` this many seconds; `drips` a byte a second and never ends; `hangs`: no response at all.

    `first` is called with the entry before the response, `then` as soon as the response is on its way.
    """

    status: int = 200
    after: float = 0.0
    drips: bool = False
    hangs: bool = False
    first: Callable[[Entry], object] | None = None
    then: Callable[[Entry], object] | None = None


class _Connection(asyncio.Protocol):
    def __init__(self, ledger: "Ledger", opened: set[asyncio.Transport]) -> None:
        self.ledger = ledger
        self.opened = opened
        self.waiting = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.opened.add(self.transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.opened.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            first, *lines = self.waiting[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = end + 4 + int(headers.get("content-length", 0))
            if len(self.waiting) < size:
                return
            body = bytes(self.waiting[end + 4 : size])
            del self.waiting[:size]
            self._received(first.split(" ")[1], headers, body)

    def _received(self, path: str, headers: dict[str, str], body: bytes) -> None:
        entry = Entry(
            path,
            headers,
            hashlib.sha256(body).hexdigest(),
            body if len(body) <= KEPT_BODY_BYTES else b"",
            self.transport.get_extra_info("peername")[1],
            time.monotonic(),
        )
        answer = self.ledger.enter(entry)
        if answer.first:
            answer.first(entry)
        if answer.hangs:
            return
        if answer.after:
            asyncio.get_running_loop().call_later(answer.after, self._answer, entry, answer)
        else:
            self._answer(entry, answer)

    def _answer(self, entry: Entry, answer: Answer) -> None:
        if self.transport.is_closing():
            return
        entry.begun = answer.status
        if answer.drips:
            self.transport.write(b"HTTP/1.1 %d Drips\r\ncontent-length: 100000\r\n\r\n" % answer.status)
            self._drip()
            return
        entry.answered = answer.status
        self.transport.write(b"HTTP/1.1 %d Answer\r\ncontent-length: 2\r\n\r\nok" % answer.status)
        if answer.then:
            answer.then(entry)

    def _drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b".")
            asyncio.get_running_loop().call_later(1.0, self._drip)


class Ledger:
    """A context manager. `answers` holds the response to each path: an Answer, or a function of the entry and its
    number among those of its path. Any other path gets 200 at once."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.answers: dict[str, Answer | Callable[[Entry, int], Answer]] = {}
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
        self._doors: list[Door] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.door = self.new_door()
        return self

    def __exit__(self, *_error: object) -> None:
        for door in self._doors:
            door.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def new_door(self) -> "Door":
        """A port of its own to come in by, open."""
        door = Door(self)
        door.open()
        self._doors.append(door)
        return door

    def enter(self, entry: Entry) -> Answer:
        self.counts[entry.path] += 1
        self.entries.append(entry)
        answer = self.answers.get(entry.path, Answer())
        return answer if isinstance(answer, Answer) else answer(entry, self.counts[entry.path])

    def at(self, path: str) -> list[Entry]:
        return [entry for entry in list(self.entries) if entry.path == path]

    def run(self, work: Any) -> Any:
        """Do it on the ledger's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Door:
    """A port that can be closed, so that connections are refused, and opened again."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.port = 0
        self._opened: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{path}"

    def open(self) -> None:
        listener = socket.create_server((HOST, self.port), backlog=512)
        self.port = listener.getsockname()[1]

        async def serve() -> asyncio.Server:
            loop = asyncio.get_running_loop()
            return await loop.create_server(lambda: _Connection(self.ledger, self._opened), sock=listener)

        self._server = self.ledger.run(serve())

    def close(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None

        async def shut() -> None:
            server.close()
            for transport in list(self._opened):
                transport.abort()
            await asyncio.sleep(0)

        self.ledger.run(shut())
