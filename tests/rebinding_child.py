"""The process of tests/test_rebinding.py: `python -m tests.rebinding_child NET MNT`, in namespaces of its own.

There it may have the internet on its loopback: a DNS server, public and inner addresses. It prints what they got.
"""

import json
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

from django.conf import settings

from tests.dns_server import DNSServer

PUBLIC, INNER, INNER_V6, METADATA = "93.184.216.34", "10.9.8.7", "fd00::7", "169.254.169.254"
ADDRESSES = (PUBLIC, INNER, INNER_V6, METADATA)
# Each name's answers, one a look-up.
SCENARIOS = {
    "steady": [[PUBLIC]],
    "to-metadata": [[PUBLIC], [METADATA]],
    "to-inner": [[PUBLIC], [INNER]],
    "to-inner-v6": [[PUBLIC], [INNER_V6]],
    "from-inner": [[INNER], [PUBLIC]],
    "mixed": [[PUBLIC, INNER]],
    "mixed-v6": [[PUBLIC, INNER_V6]],
}
SENDERS = ("transport", "naive")


class Listener(socketserver.ThreadingTCPServer):
    """An HTTP server on port 80 of one address; keeps the callers' ports and the Host of each request."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: str) -> None:
        self.address = address
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.heard = threading.Condition()
        self.callers: list[int] = []
        self.hosts: list[str] = []
        super().__init__((address, 80), Handler)

    def get_request(self) -> tuple[socket.socket, tuple]:
        connection, caller = super().get_request()
        with self.heard:
            self.callers.append(caller[1])
            self.heard.notify_all()
        return connection, caller

    def ledger(self) -> dict[str, object]:
        """What came so far. The server takes calls in order, so a call of our own comes after all the others."""
        with socket.create_connection((self.address, 80)) as last:
            port = last.getsockname()[1]
            with self.heard:
                if not self.heard.wait_for(lambda: port in self.callers, 20):
                    raise TimeoutError(f"The listener at {self.address} takes no calls.")
                self.callers.remove(port)
                return {"connections": len(self.callers), "hosts": list(self.hosts)}


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.heard:
            self.server.hosts.append(self.headers["host"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


# Imported late, since urllib3 finds out at its import whether there is IPv6, and there is none until loopback is up.
def by_transport(url: str) -> str:
    from orderhooks.transport import connections, post

    try:
        return post(url, b"{}", {}, timeout_seconds=20.0).error
    finally:
        connections.adapter().poolmanager.clear()


def by_a_naive_check(url: str) -> str:
    """Judge the name, then let requests look it up once more: what the transport must not do."""
    import requests

    host = url.split("/")[2]
    try:
        rows = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        if not all(ip_address(row[4][0]).is_global for row in rows):
            return "blocked"
        return "" if requests.post(url, data=b"{}", timeout=20).ok else "status"
    except OSError as error:
        return type(error).__name__


def build_the_internet() -> None:
    run("ip", "link", "set", "lo", "up")
    for address in ADDRESSES:
        if ":" in address:
            run("ip", "-6", "addr", "add", f"{address}/128", "dev", "lo", "nodad")
        else:
            run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    run("mount", "--make-rprivate", "/")
    with tempfile.TemporaryDirectory() as folder:
        for path, text in (
            ("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
            ("/etc/nsswitch.conf", "hosts: files dns\n"),
        ):
            if Path(path).exists():
                file = Path(folder, Path(path).name)
                file.write_text(text)
                run("mount", "--bind", str(file), path)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def listening() -> Iterator[dict[str, Listener]]:
    with ExitStack() as stack:
        listeners = {address: stack.enter_context(Listener(address)) for address in ADDRESSES}
        for listener in listeners.values():
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            stack.callback(listener.shutdown)
        yield listeners


def tell(sender: Callable[[str], str], name: str, dns: DNSServer) -> dict[str, object]:
    """Two posts to a name, and what the listeners got of them."""
    with listening() as listeners:
        first = sender(f"http://{name}/hook")
        lookups = dns.lookups(name)
        return {
            "first": first,
            "lookups": lookups,
            "second": sender(f"http://{name}/hook"),
            **{address: listener.ledger() for address, listener in listeners.items()},
        }


def main(*namespaces_of_the_parent: str) -> None:
    if not namespaces_of_the_parent or set(namespaces_of_the_parent) & {
        os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt")
    }:
        sys.exit("This alters the network and /etc: run it in namespaces of its own, as tests/test_rebinding.py does.")
    settings.configure(ORDERHOOKS={"REQUIRE_HTTPS": False})
    build_the_internet()
    senders = dict(zip(SENDERS, (by_transport, by_a_naive_check), strict=True))
    table = {f"{case}.{who}.example": answers for case, answers in SCENARIOS.items() for who in senders}
    with DNSServer(table, ("127.0.0.1", 53)) as dns:
        told = {
            who: {case: tell(sender, f"{case}.{who}.example", dns) for case in SCENARIOS}
            for who, sender in senders.items()
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
