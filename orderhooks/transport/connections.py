"""What requests and urllib3 run on: connections that are dialled by `sockets.dial` and kept alive between exchanges."""

import os
import threading
from typing import Any

import certifi
import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from orderhooks import conf
from orderhooks.transport.sockets import Exchange, TimedSocket, TimedSSLSocket, dial, leftover

HOSTS = 256
CONNECTIONS_PER_HOST = 64


class Running(threading.local):
    """The exchange that this thread is in: urllib3 has no way to hand it down to a connection."""

    exchange: Exchange


running = Running()


class GuardedConnection(HTTPConnection):
    guarded = True
    fresh = True

    def _new_conn(self) -> TimedSocket:
        self.fresh = True
        return dial(
            self._dns_host,
            self.port,
            running.exchange,
            guarded=self.guarded,
            allowed=conf.current().allowed_networks,
            options=self.socket_options or (),
        )

    @property
    def is_connected(self) -> bool:
        """Whether the connection can serve another exchange: open, and nothing left of the last one's answer."""
        return super().is_connected and not (self.sock and leftover(self.sock))

    def request(self, *args: Any, **kwargs: Any) -> None:
        running.exchange.reused = self.sock is not None and not self.fresh
        if self.sock is not None:
            self.sock.exchange = running.exchange  # type: ignore[union-attr]
        super().request(*args, **kwargs)
        self.fresh = False


class GuardedTLSConnection(HTTPSConnection, GuardedConnection):
    pass


class ProxiedConnection(GuardedConnection):
    """To the egress proxy, which the setting names: it looks names up and guards by itself."""

    guarded = False


class ProxiedTLSConnection(GuardedTLSConnection):
    guarded = False


def _pools(plain: type[HTTPConnection], tls: type[HTTPSConnection]) -> dict[str, type[HTTPConnectionPool]]:
    return {
        "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


GUARDED_POOLS = _pools(GuardedConnection, GuardedTLSConnection)
PROXIED_POOLS = _pools(ProxiedConnection, ProxiedTLSConnection)


class Adapter(HTTPAdapter):
    """requests' adapter with the connections above and one TLS context for all: loading the certificates is dear."""

    def __init__(self, ca_bundle: str) -> None:
        self.context = create_urllib3_context()
        self.context.load_verify_locations(ca_bundle or certifi.where())
        self.context.sslsocket_class = TimedSSLSocket
        super().__init__(pool_connections=HOSTS, pool_maxsize=CONNECTIONS_PER_HOST)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = GUARDED_POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = PROXIED_POOLS
        return manager

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        host, _tls = super().build_connection_pool_key_attributes(request, verify=True)
        tls = {"ssl_context": self.context, "cert_reqs": "CERT_REQUIRED"}
        return host, tls if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the pool as it is: its context has the certificates, and demands one."""


_adapters: dict[str, Adapter] = {}


def adapter() -> Adapter:
    """This process's adapter, for the certificates that the settings name."""
    ca_bundle = conf.current().ca_bundle
    try:
        return _adapters[ca_bundle]
    except KeyError:
        return _adapters.setdefault(ca_bundle, Adapter(ca_bundle))


# A connection that was open before a fork must not be used on both sides of it.
os.register_at_fork(after_in_child=_adapters.clear)
