"""Receivers that mean harm: each row of BEHAVIOURS on a port of its own on loopback. Used by test_hostile."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

from tests.hostile_behaviours import BEHAVIOURS, Behaviour


class HostileReceiver:
    """Runs the behaviours, each on a port of its own. `connects` counts the connections that each has seen."""

    def __init__(self, contexts: Mapping[str, ssl.SSLContext]) -> None:
        self.contexts = contexts
        self.urls: dict[str, str] = {}
        self.connects: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        self._servers = []
        for behaviour in BEHAVIOURS:
            tls = self.contexts[behaviour.tls] if behaviour.tls not in ("", "raw") else None
            server = await asyncio.start_server(self._serving(behaviour), "127.0.0.1", 0, ssl=tls)
            self._servers.append(server)
            scheme = "https" if behaviour.tls else "http"
            self.urls[behaviour.name] = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/hook"
            self.connects[behaviour.name] = 0

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One that is closed still holds its socket while bytes that nobody reads are left in it.
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        # Connections that were in a handshake have no writer; since Python 3.12 their server waits for them.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(server.wait_closed() for server in self._servers)), 5)

    def _serving(self, behaviour: Behaviour) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connects[behaviour.name] += 1
            self._writers.append(writer)
            try:
                await behaviour.act(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the sender has gone, as it should
            finally:
                writer.transport.close() if behaviour.tls != "good" else writer.transport.abort()

        return serve
