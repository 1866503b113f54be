"""Receivers that mean harm: each row of BEHAVIOURS on a port of its own on loopback. Used by test_hostile.

They run in a process of their own, so that what they leave open and what they allocate is not the tested process's.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Self

from tests.certificates import make_contexts
from tests.hostile_behaviours import BEHAVIOURS, Behaviour


class HostileReceiver:
    """Runs the behaviours. `urls` has the URL of each, `bundle` the path of the CA to trust.

    `folder`: where it may write its certificates.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_question = threading.Lock()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.hostile_receiver", str(self._folder)]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started = json.loads(_of(self._process.stdout).readline())
        self.bundle: str = started["bundle"]
        self.urls: dict[str, str] = started["urls"]
        return self

    def __exit__(self, *_error: object) -> None:
        # Its input ends, and so does it.
        self._process.communicate(timeout=30)

    def connects(self, name: str) -> int:
        """How many connections this behaviour has seen."""
        with self._one_question:
            question = _of(self._process.stdin)
            question.write(f"{name}\n")
            question.flush()
            return int(_of(self._process.stdout).readline())


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


async def serve(folder: Path) -> None:
    """Say the URLs in one line; then answer each name that is asked for with the number of connections."""
    bundle, contexts = make_contexts(folder)
    connects = dict.fromkeys((behaviour.name for behaviour in BEHAVIOURS), 0)
    urls = {}
    for behaviour in BEHAVIOURS:
        tls = contexts[behaviour.tls] if behaviour.tls not in ("", "raw") else None
        server = await asyncio.start_server(_serving(behaviour, connects), "127.0.0.1", 0, ssl=tls)
        scheme = "https" if behaviour.tls else "http"
        urls[behaviour.name] = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/hook"
    print(json.dumps({"bundle": bundle, "urls": urls}), flush=True)
    while name := (await asyncio.to_thread(sys.stdin.readline)).rstrip("\n"):
        print(connects[name], flush=True)


def _serving(
    behaviour: Behaviour, connects: dict[str, int]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects[behaviour.name] += 1
        try:
            await behaviour.act(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the sender has gone, as it should
        finally:
            writer.transport.close() if behaviour.tls != "good" else writer.transport.abort()

    return serve_one


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
