"""An oracle that hears every connect, for the tests of where requests may not go.

It judges addresses by a rule of its own, not by the transport's, and lets nothing leave the machine.
"""

import contextlib
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from orderhooks.transport import Outcome, connections, post, sockets

PRODUCTION = {"REQUIRE_HTTPS": False}
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

# What Python's `is_global` lets through though it is not, or not in all versions, an address of somebody out there.
NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's metadata
            "192.0.0.0/24",
            "192.88.99.0/24",
            "64:ff9b::/96",  # the next three hide an IPv4 address
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fec0::/10",
        ),
    )
)
ALLOCATED_IPV6 = ip_network("2000::/3")


def is_forbidden(text: str) -> bool:
    """Whether nothing may be sent to what was dialled. A path or a name in an address's place may not be dialled."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(_is_inner(one) for one in (address, *_hidden_in(address)))


def _is_inner(address: IPv4Address | IPv6Address) -> bool:
    return (
        not address.is_global
        or address.is_multicast
        or any(address in network for network in NOT_PUBLIC)
        or (address.version == 6 and address not in ALLOCATED_IPV6)
    )


def _hidden_in(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv6Address):
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo
        if address in ip_network("64:ff9b::/96") or address in ip_network("::/96"):
            yield IPv4Address(address.packed[-4:])


def name_to_look_up(host: str) -> str:
    """The name as Python hands it to the system's resolver. Raises UnicodeError."""
    return host.encode("idna").decode("ascii").lower().removesuffix(".")


class Oracle:
    """Hears of every connect and of every datagram of this process, and refuses it; answers look-ups from a table."""

    def __init__(self) -> None:
        self.begin({})

    def begin(self, dns: dict[str, list[list[str]]], *, relay: tuple[str, int] | None = None) -> None:
        """Forget the last row. `relay`: the server on loopback that takes the connections in place of a refusal."""
        self.dns = dns
        self.relay = relay
        self.dialled: list[str] = []
        self.looked_up: list[str] = []

    @property
    def forbidden(self) -> list[str]:
        return [address for address in self.dialled if is_forbidden(address)]

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if address is not None and address != self.relay:
                self.dialled.append(str(address[0]) if isinstance(address, tuple) else str(address))
                raise ConnectionRefusedError("The oracle lets nothing out.")
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
            self.dialled.append(f"the resolver of this machine, for {arguments[0]}")
            raise socket.gaierror(socket.EAI_NONAME, "The oracle lets nothing out.")

    def getaddrinfo(
        self, host: str | bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple]:
        name = name_to_look_up(host.decode() if isinstance(host, bytes) else host)
        self.looked_up.append(name)
        rows = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self._addresses(name)
        ]
        return [row for row in rows if family in (0, row[0])]

    def _addresses(self, name: str) -> list[str]:
        if name in self.dns:
            answers = self.dns[name]
            return answers[min(self.looked_up.count(name), len(answers)) - 1]
        try:
            return [socket.inet_ntoa(socket.inet_aton(name))]  # in all the spellings that a real resolver takes
        except OSError:
            pass
        try:
            return [str(IPv6Address(name.partition("%")[0]))]
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


_listening: list[Oracle] = []


def _tell_the_oracle(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event.startswith("socket."):
        _listening[-1].hear(event, arguments)


# Hooks can't be taken away again. They run before the operating system is asked, whichever socket it is.
sys.addaudithook(_tell_the_oracle)


@contextlib.contextmanager
def listening(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Oracle]:
    """An oracle that hears what the transport does, in a project as it is in production."""
    oracle = Oracle()
    settings.ORDERHOOKS = PRODUCTION
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    dial = socket.socket.connect

    def connect(self: socket.socket, address: tuple) -> None:
        if oracle.relay:
            oracle.dialled.append(str(address[0]))
            address = oracle.relay
        dial(self, address)

    monkeypatch.setattr(sockets.TimedSocket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", oracle.getaddrinfo)
    # The guard of all tests stands before the oracle and would raise where the oracle is to count.
    monkeypatch.setattr("tests.conftest._is_loopback", lambda host: True)
    _listening.append(oracle)
    yield oracle
    _listening.remove(oracle)


def send(url: str) -> Outcome:
    try:
        return post(url, b"{}", {"webhook-id": "evt_1"}, timeout_seconds=10.0)
    finally:
        # No connection that is kept alive may answer for the next row.
        connections.adapter().poolmanager.clear()
