"""A receiver that records when each request came, in a process of its own. Its response depends on the path.

`/` at once, `/after/50` after 50 ms, `/hang` never, `/flap/30` with 503 in every second half-minute. `GET /receipts`
returns what came, and forgets it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import requests

from benchmarks.sink import free_ports, wait_for

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s"


class Receipts:
    """A running receiver's address, and what came to it."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.url = f"http://localhost:{port}"

    def collect(self) -> list[tuple[str, str, float]]:
        """(path, webhook-id, monotonic seconds) of each request since the last time."""
        return [tuple(one) for one in requests.get(f"{self.url}/receipts", timeout=60).json()]


@contextlib.contextmanager
def running() -> Iterator[Receipts]:
    [port] = free_ports(1)
    process = subprocess.Popen([sys.executable, "-B", "-m", "benchmarks.receipts", str(port)], stdin=subprocess.PIPE)
    try:
        wait_for(port, process)
        yield Receipts(port, process.pid)
    finally:
        process.terminate()
        process.wait(10)


came: list[tuple[str, str, float]] = []


class Noting(asyncio.Protocol):
    """Enough of HTTP/1.1 for the requests of benchmarks: each POST has a content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].decode("latin-1")
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            size = end + 4 + int(headers.get("content-length", 0))
            if len(self.waiting) < size:
                return
            self.waiting = self.waiting[size:]
            self.respond(lines[0].split(" ")[1], headers)

    def respond(self, path: str, headers: dict[str, str]) -> None:
        if path == "/receipts":
            text = json.dumps(came).encode()
            came.clear()
            self.transport.write(RESPONSE % (len(text), text))
            return
        came.append((path, headers.get("webhook-id", ""), time.monotonic()))
        if path.startswith("/after/"):
            delay = int(path.rpartition("/")[2]) / 1e3
            asyncio.get_running_loop().call_later(delay, self.transport.write, RESPONSE % (2, b"ok"))
        elif path.startswith("/flap/") and time.monotonic() // int(path.rpartition("/")[2]) % 2:
            self.transport.write(UNAVAILABLE)
        elif path != "/hang":
            self.transport.write(RESPONSE % (2, b"ok"))


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Noting, "127.0.0.1", port):
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(int(sys.argv[1])))
