"""Hosts of a test's own: network namespaces with addresses of their own, which reach services on loopback by relays.

    host 10.77.0.11 ──┐
                      ├── bridge 10.77.0.1, in a namespace of its own ── relays ── 127.0.0.1
    host 10.77.0.12 ──┘

Cut off, a host's packets get lost without a word, as behind a broken switch: no connection is closed.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import HOST

GATEWAY = "10.77.0.1"
NETWORK = "10.77.0.0/24"
CLONE_NEWNET = 0x40000000
CHUNK_BYTES = 65536


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


def why_impossible() -> str:
    """Why this machine can't have such hosts, or ""."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "network namespaces need root and the program `ip` (iproute2)"
    probe = f"orderhooks-{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
        try:
            ip("-n", probe, "link", "add", "bridge", "type", "bridge")
            ip("-n", probe, "link", "add", "one", "type", "veth", "peer", "name", "two")
        finally:
            ip("netns", "delete", probe)
    except (OSError, subprocess.SubprocessError) as error:
        return f"this machine can't make network namespaces: {error}"
    return ""


@dataclass(frozen=True)
class Host:
    """A host: what begins a command that runs on it, and the file by whose seconds its clock is wrong."""

    name: str
    # Its end in the bridge's namespace.
    link: str
    network: "Network"
    address: str
    clock: Path

    @property
    def command(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        ip("-n", self.network.name, "link", "set", self.link, "down")

    def bring_back(self) -> None:
        ip("-n", self.network.name, "link", "set", self.link, "up")


class Network:
    """A context manager. `relay` makes a port of the machine reachable from all hosts, at GATEWAY and the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"oh-{os.getpid()}-net"
        self.hosts: list[Host] = []
        # How many connections each host has opened, by its address and the port.
        self.opened: Counter[tuple[str, int]] = Counter()
        # The address of the host behind each connection to a port of the machine, by the relay's own port.
        self.behind: dict[int, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Network":
        self._thread.start()
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.name, "address", "add", f"{GATEWAY}/24", "dev", "bridge")
        ip("-n", self.name, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_error: object) -> None:
        async def shut() -> None:
            for server in self._servers:
                server.close()
            for connection in list(self._connections):
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(shut(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for name in [*(host.name for host in self.hosts), self.name]:
            with contextlib.suppress(subprocess.SubprocessError):
                ip("netns", "delete", name)

    def add_host(self) -> Host:
        number = len(self.hosts) + 1
        name, link = f"oh-{os.getpid()}-host-{number}", f"host-{number}"
        address = f"10.77.0.{10 + number}"
        clock = self.folder / f"clock-of-host-{number}"
        clock.write_text("0")
        ip("netns", "add", name)
        ip("-n", self.name, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", self.name, "link", "set", link, "master", "bridge", "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        self.hosts.append(Host(name, link, self, address, clock))
        return self.hosts[-1]

    def relay(self, port: int) -> None:
        listener = self._listen_inside(port)

        async def serve() -> asyncio.Server:
            return await asyncio.start_server(lambda reader, writer: self._carry(port, reader, writer), sock=listener)

        self._servers.append(asyncio.run_coroutine_threadsafe(serve(), self._loop).result(20))

    def _listen_inside(self, port: int) -> socket.socket:
        """A socket of the bridge's namespace. It stays one in whichever thread it is used later."""
        made: list[socket.socket] = []

        def listen() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.name}") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((GATEWAY, port), backlog=512))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        assert made, "the thread could not enter the namespace"
        return made[0]

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        self.opened[writer.get_extra_info("peername")[0], port] += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, port)
            self.behind[far_writer.get_extra_info("sockname")[1]] = writer.get_extra_info("peername")[0]
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._connections.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@contextlib.contextmanager
def two_hosts(folder: Path, *ports: int) -> Iterator[list[Host]]:
    """Two hosts that reach these ports of the machine."""
    with Network(folder) as network:
        hosts = [network.add_host(), network.add_host()]
        for port in ports:
            network.relay(port)
        yield hosts
