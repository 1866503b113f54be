"""If a library no longer calls a hook that the address guard needs, nothing is sent: Note [Fail closed]."""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from orderhooks.db import Wakeup
from orderhooks.transport import connections, post

Break = Callable[[pytest.MonkeyPatch], None]


def _without_new_conn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(connections.GuardedConnection, "_new_conn")


def _without_our_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(connections.Adapter, "init_poolmanager")


def _with_urllib3s_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GUARDED_POOLS", {"http": HTTPConnectionPool, "https": HTTPSConnectionPool})


@pytest.fixture
def listener(monkeypatch) -> Iterator[socket.socket]:
    """Accepts on loopback; its backlog holds what connects."""
    monkeypatch.setattr(connections, "_adapters", {})
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        # Whoever wanted to has connected by the time that `post` has ended.
        server.settimeout(0.05)
        yield server


def _bytes_received(listener: socket.socket) -> bytes:
    try:
        connection, _address = listener.accept()
    except TimeoutError:
        return b""
    with closing(connection):
        connection.settimeout(5)
        return connection.recv(1024)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("remove", [_without_new_conn, _without_our_pools, _with_urllib3s_connections])
@pytest.mark.parametrize("networks", [[], ["127.0.0.0/8"]], ids=["blocked address", "allowed address"])
def test_without_a_hook_no_byte_leaves(
    listener, monkeypatch, settings, scheme: str, remove: Break, networks: list[str]
) -> None:
    settings.ORDERHOOKS = {"REQUIRE_HTTPS": False, "ALLOWED_NETWORKS": networks}
    remove(monkeypatch)
    # By name, as the check of the URL itself judges literal addresses.
    outcome = post(f"{scheme}://localhost:{listener.getsockname()[1]}/", b"{}", {}, timeout_seconds=5)
    assert outcome.error == "internal", outcome
    assert outcome.status_code is None
    assert _bytes_received(listener) == b""


def test_a_worker_with_many_open_files_waits_all_the_same() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1300:
        pytest.skip("this system allows no 1,300 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1300), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        wakeup = Wakeup()
        assert not wakeup.wait(0)
        wakeup.notify()
        assert wakeup.wait(60)
        wakeup.close()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
