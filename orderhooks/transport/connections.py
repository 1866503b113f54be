"""The connections that requests and urllib3 use: opened by `sockets.connect`, kept alive between exchanges.

Each request is sent as one packet, and whatever is the same for all requests to a URL is computed once.
"""

import functools
import http.client
import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import certifi
import urllib3
from django.views.decorators.debug import sensitive_variables
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from orderhooks import conf
from orderhooks.transport.certificates import ClientCertificate, load_into
from orderhooks.transport.responses import Response
from orderhooks.transport.sockets import Exchange, TimedSocket, TimedSSLSocket, connect, has_unread_data
from orderhooks.transport.urls import DEFAULT_PORTS

URLLIB3_VERSION = version("urllib3")
HOSTS = 256
CONNECTIONS_PER_HOST = 64
URLS = 1024
# A TLS context holds about a megabyte of certificates.
OWN_ADAPTERS = 64
# A longer request is not copied into one piece.
ONE_PIECE_BYTES = 64 * 1024


class CurrentExchange(threading.local):
    """The exchange of this thread. urllib3 has no way to hand it down to a connection."""

    exchange: Exchange


current = CurrentExchange()


def require_guarded_socket(sock: Any) -> None:
    """Raises FailedError unless the socket is one of `sockets.connect`, or TLS around one. See Note [Fail closed]."""
    if not isinstance(sock, TimedSocket | TimedSSLSocket):
        raise current.exchange.fail("internal", f"urllib3 {URLLIB3_VERSION} connected without the address guard.")


def require_guarded_pool(pool: Any) -> Any:
    """Return the pool if it makes GuardedConnections. Raises FailedError otherwise. See Note [Fail closed]."""
    if not issubclass(pool.ConnectionCls, GuardedConnection):
        raise current.exchange.fail("internal", f"urllib3 {URLLIB3_VERSION} chose another class of connection.")
    return pool


class GuardedConnection(HTTPConnection):
    """One connection, opened to judged addresses alone by `sockets.connect`.

    # Note [Fail closed]
    The address guard depends on private names of urllib3 and requests: `_new_conn` and `pool_classes_by_scheme`. A new
    version that no longer uses them would connect to any address. So before the first byte is sent, a TLS handshake
    included, the socket must be one of `sockets.connect` and the pool must be one of ours. Otherwise the outcome is
    `internal`. Checked with urllib3 2.7 and requests 2.32.
    """

    response_class = Response
    guarded = True
    is_new = True
    # The pieces of the request that urllib3 has written so far. They are sent together.
    pieces: list[bytes] | None = None

    def _new_conn(self) -> TimedSocket:
        self.is_new = True
        return connect(
            self._dns_host,
            self.port,
            current.exchange,
            guarded=self.guarded,
            allowed=conf.current().allowed_networks,
            options=self.socket_options or (),
        )

    @property
    def is_connected(self) -> bool:
        """Whether the connection can serve another exchange: it is open, and nothing unread is left of the last one."""
        return super().is_connected and not (self.sock and has_unread_data(self.sock))

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **_options: Any) -> None:
        """Send a request. Unlike urllib3's method it expects a body of bytes and headers that hold its length."""
        current.exchange.reused = self.sock is not None and not self.is_new
        if self.sock is not None:
            self.sock.exchange = current.exchange  # type: ignore[union-attr]
            self.sock.settimeout(self.timeout)
        self.pieces = []
        try:
            self.putrequest(method, url, skip_accept_encoding=True)
            for name, value in headers.items():
                http.client.HTTPConnection.putheader(self, name, value)
            self.endheaders(body)
        finally:
            pieces, self.pieces = self.pieces, None
        # Headers and body sent separately would be two packets, and wake the receiver twice.
        for piece in [b"".join(pieces)] if sum(map(len, pieces)) <= ONE_PIECE_BYTES else pieces:
            self.send(piece)
        self.is_new = False

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        """The response. Unlike urllib3's method it does not parse the headers a second time."""
        self.sock.settimeout(self.timeout)
        response = http.client.HTTPConnection.getresponse(self)
        return urllib3.HTTPResponse(
            body=response,
            headers=urllib3.HTTPHeaderDict(response.headers.items()),
            status=response.status,
            version=response.version,
            reason=response.reason,
            preload_content=False,
            decode_content=False,
            original_response=response,
            request_method="POST",
        )

    def send(self, data: Any) -> None:
        if self.pieces is not None:
            self.pieces.append(data)
            return
        if self.sock is None:
            self.connect()
        require_guarded_socket(self.sock)
        super().send(data)


class GuardedTLSConnection(HTTPSConnection, GuardedConnection):
    pass


class ProxiedConnection(GuardedConnection):
    """A connection to the egress proxy of the settings. The proxy resolves names and guards addresses itself."""

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


def _wrap_guarded(wrap: Callable[..., ssl.SSLSocket]) -> Callable[..., ssl.SSLSocket]:
    def wrap_socket(sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        require_guarded_socket(sock)
        return wrap(sock, *arguments, **options)

    return wrap_socket


class Adapter(HTTPAdapter):
    """requests' adapter with the connections above, and one TLS context: loading the certificates is expensive."""

    def __init__(self, ca_bundle: str, certificate: ClientCertificate | None = None) -> None:
        self.context = create_urllib3_context()
        self.context.load_verify_locations(ca_bundle or certifi.where())
        if certificate is not None:
            load_into(self.context, certificate.chain, certificate.private_key)
        self.context.sslsocket_class = TimedSSLSocket
        self.context.wrap_socket = _wrap_guarded(self.context.wrap_socket)  # type: ignore[method-assign]
        super().__init__(pool_connections=HOSTS, pool_maxsize=CONNECTIONS_PER_HOST)
        self.pool_of = functools.lru_cache(maxsize=URLS)(self._pool_of)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = GUARDED_POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = PROXIED_POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies:
            return require_guarded_pool(super().get_connection_with_tls_context(request, verify, proxies, cert))
        key, context = self.pool_of(request.url)
        return require_guarded_pool(self.poolmanager.connection_from_pool_key(key, dict(context)))

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
        """Return urllib3's response. `posting` needs no cookies, encodings or history, which requests would add."""
        return resp

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        host, _tls = super().build_connection_pool_key_attributes(request, verify=True)
        tls = {"ssl_context": self.context, "cert_reqs": "CERT_REQUIRED"}
        return host, tls if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context has the certificates and verifies each endpoint."""


_adapters: dict[str, Adapter] = {}
# Of each subscription with a client certificate: the CA_BUNDLE and the certificate, and their adapter.
_own_adapters: OrderedDict[str, tuple[tuple[str, ClientCertificate], Adapter]] = OrderedDict()
_own_adapters_lock = threading.Lock()


def adapter(certificate: ClientCertificate | None = None) -> Adapter:
    """The adapter of this process, for the certificates of the setting CA_BUNDLE.

    # Note [Own connections]
    A connection stands for the certificate that was presented when it was opened. So each subscription with a client
    certificate has an adapter of its own, with connections and a TLS context that no other subscription uses. Another
    certificate of the same subscription closes them.

    Raises InvalidCertificateError if OpenSSL does not accept the certificate.
    """
    ca_bundle = conf.current().ca_bundle
    if certificate is not None:
        return _own_adapter(ca_bundle, certificate)
    try:
        return _adapters[ca_bundle]
    except KeyError:
        return _adapters.setdefault(ca_bundle, Adapter(ca_bundle))


@sensitive_variables()
def _own_adapter(ca_bundle: str, certificate: ClientCertificate) -> Adapter:
    key = (ca_bundle, certificate)
    with _own_adapters_lock:
        known = _own_adapters.pop(certificate.owner, None)
        if known is None or known[0] != key:
            if known is not None:
                known[1].close()
            known = key, Adapter(ca_bundle, certificate)
        _own_adapters[certificate.owner] = known
        if len(_own_adapters) > OWN_ADAPTERS:
            _own_adapters.popitem(last=False)[1][1].close()
        return known[1]


def _forget_adapters() -> None:
    # A connection that was opened before a fork must not be used by both processes.
    global _own_adapters_lock
    _adapters.clear()
    _own_adapters.clear()
    _own_adapters_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_adapters)
