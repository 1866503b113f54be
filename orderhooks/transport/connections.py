"""What requests and urllib3 run on: connections that are dialled by `sockets.dial` and kept alive between exchanges.

Each request is sent as one piece, and nothing that is the same for all requests to a URL is worked out again.
"""

import functools
import http.client
import os
import ssl
import threading
from collections.abc import Callable
from typing import Any

import certifi
import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from orderhooks import conf
from orderhooks.transport.answers import Answer
from orderhooks.transport.sockets import Exchange, TimedSocket, TimedSSLSocket, dial, leftover
from orderhooks.transport.urls import DEFAULT_PORTS

HOSTS = 256
CONNECTIONS_PER_HOST = 64
URLS = 1024
# A longer request is not copied to be one piece.
ONE_PIECE_BYTES = 64 * 1024


class Running(threading.local):
    """The exchange that this thread is in: urllib3 has no way to hand it down to a connection."""

    exchange: Exchange


running = Running()


def require_dialled(sock: Any) -> None:
    """Raises FailedError unless `dial` made the socket, or TLS was put around one of its making.

    See Note [Fail closed].
    """
    if not isinstance(sock, TimedSocket | TimedSSLSocket):
        raise running.exchange.fail("internal", f"urllib3 {urllib3.__version__} opened a connection past the guard.")


def require_guarded(pool: Any) -> Any:
    """The pool, if its connections are ours. Raises FailedError otherwise. See Note [Fail closed]."""
    if not issubclass(pool.ConnectionCls, GuardedConnection):
        raise running.exchange.fail("internal", f"urllib3 {urllib3.__version__} chose its own kind of connection.")
    return pool


class GuardedConnection(HTTPConnection):
    """One connection, judged and dialled by `sockets.dial`.

    # Note [Fail closed]
    The guard hangs on names that urllib3 and requests don't promise: `_new_conn` and `pool_classes_by_scheme`. Where a
    new version no longer asks them, it would connect anywhere. So before a byte is sent, TLS included, the socket is
    checked to be one of `dial`'s, and the pool to be one of ours; else the outcome is `internal`. Checked with urllib3
    2.7 and requests 2.32.
    """

    response_class = Answer
    guarded = True
    fresh = True
    # What urllib3 has sent of the request so far, while it waits to go out in one piece.
    held: list[bytes] | None = None

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

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **_options: Any) -> None:
        """urllib3's without what needs a look at each header again: bodies are bytes, and headers tell their length."""
        running.exchange.reused = self.sock is not None and not self.fresh
        if self.sock is not None:
            self.sock.exchange = running.exchange  # type: ignore[union-attr]
            self.sock.settimeout(self.timeout)
        self.held = []
        try:
            self.putrequest(method, url, skip_accept_encoding=True)
            for name, value in headers.items():
                http.client.HTTPConnection.putheader(self, name, value)
            self.endheaders(body)
        finally:
            held, self.held = self.held, None
        # Headers and body apart would be two packets, and wake the receiver twice.
        for piece in [b"".join(held)] if sum(map(len, held)) <= ONE_PIECE_BYTES else held:
            self.send(piece)
        self.fresh = False

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        """urllib3's without its second look at headers."""
        self.sock.settimeout(self.timeout)
        answer = http.client.HTTPConnection.getresponse(self)
        return urllib3.HTTPResponse(
            body=answer,
            headers=urllib3.HTTPHeaderDict(answer.headers.items()),
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
            original_response=answer,
            request_method="POST",
        )

    def send(self, data: Any) -> None:
        if self.held is not None:
            self.held.append(data)
            return
        if self.sock is None:
            self.connect()
        require_dialled(self.sock)
        super().send(data)


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


def _wrap_dialled(wrap: Callable[..., ssl.SSLSocket]) -> Callable[..., ssl.SSLSocket]:
    def wrap_socket(sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        require_dialled(sock)
        return wrap(sock, *arguments, **options)

    return wrap_socket


class Adapter(HTTPAdapter):
    """requests' adapter with the connections above and one TLS context for all: loading the certificates is dear."""

    def __init__(self, ca_bundle: str) -> None:
        self.context = create_urllib3_context()
        self.context.load_verify_locations(ca_bundle or certifi.where())
        self.context.sslsocket_class = TimedSSLSocket
        self.context.wrap_socket = _wrap_dialled(self.context.wrap_socket)  # type: ignore[method-assign]
        super().__init__(pool_connections=HOSTS, pool_maxsize=CONNECTIONS_PER_HOST)
        self.pool_of = functools.lru_cache(maxsize=URLS)(self._pool_of)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = GUARDED_POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = PROXIED_POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies:
            return require_guarded(super().get_connection_with_tls_context(request, verify, proxies, cert))
        key, context = self.pool_of(request.url)
        return require_guarded(self.poolmanager.connection_from_pool_key(key, dict(context)))

    def _pool_of(self, url: str) -> tuple[urllib3.poolmanager.PoolKey, dict[str, Any]]:
        request = PreparedRequest()
        request.url = url
        host, tls = self.build_connection_pool_key_attributes(request, True)
        context = {**self.poolmanager.connection_pool_kw, **host, **tls}
        context["port"] = context["port"] or DEFAULT_PORTS[context["scheme"]]
        return self.poolmanager.key_fn_by_scheme[context["scheme"]](context), context

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Any:
        """urllib3's own: what requests adds of cookies, encodings and history is nothing to `posting`."""
        return resp

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
