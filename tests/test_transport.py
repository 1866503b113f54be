"""One POST and its outcome, against real sockets on loopback."""

import gc
import os
import socket
import struct
import threading
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import pytest

from orderhooks.transport import Outcome, connections, post, safe_text, sockets
from orderhooks.transport.posting import KEPT_CHARACTERS
from orderhooks.transport.resolver import Resolver
from tests.receivers import Answer, RecordingReceiver

TLS_HANDSHAKE = b"\x16"


def send(url: str, timeout_seconds: float = 5.0) -> Outcome:
    return post(url, b"{}", {"webhook-id": "evt_1"}, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_succeeds(receiver: RecordingReceiver, status: int) -> None:
    receiver.answer = lambda count: Answer(status)
    outcome = send(receiver.url)
    assert outcome.succeeded
    assert outcome.status_code == status


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 400, 401, 404, 410, 429, 500, 503])
def test_anything_else_fails_and_no_redirect_is_followed(receiver: RecordingReceiver, status: int) -> None:
    receiver.answer = lambda count: Answer(status, headers=(("Location", receiver.url), ("Retry-After", "7")))
    outcome = send(receiver.url)
    assert (outcome.error, outcome.status_code, outcome.retry_after) == ("status", status, "7")
    assert outcome.endpoint_is_to_blame
    assert len(receiver.received) == 1


def test_the_response_is_kept_in_part_and_as_harmless_text(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(200, b"\xff\x00" + b"x" * 100_000)
    outcome = send(receiver.url)
    assert outcome.response_body.startswith("\N{REPLACEMENT CHARACTER}" * 2 + "xx")
    assert len(outcome.response_body) == KEPT_CHARACTERS


def test_cookies_are_not_sent_back_and_proxies_of_the_environment_not_used(receiver, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    receiver.answer = lambda count: Answer(headers=(("Set-Cookie", "a=b"),))
    send(receiver.url)
    send(receiver.url)
    assert [one.headers["cookie"] for one in receiver.received] == [None, None]
    assert receiver.received[0].headers["accept-encoding"] == "identity"


def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = send(f"http://127.0.0.1:{port}/")
    assert (outcome.error, outcome.status_code) == ("refused", None)
    assert "Nothing listens" in outcome.detail


@pytest.fixture
def raw_server() -> Iterator[Callable[..., str]]:
    """Responds to each connection with the bytes given, then does `afterwards` with it."""
    servers: list[socket.socket] = []

    def start(reply: bytes, *, hold: threading.Event | None = None) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                # All of it: closing with bytes unread would reset the connection.
                request = b""
                while not request.endswith(b"{}") and request[:1] != TLS_HANDSHAKE and (part := connection.recv(65536)):
                    request += part
                connection.sendall(reply)
                if hold:
                    hold.wait(20)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
    ],
)
def test_what_is_no_http_is_an_outcome(raw_server, reply: bytes, kind: str) -> None:
    outcome = send(raw_server(reply))
    assert outcome.error == kind
    assert outcome.detail
    assert outcome.endpoint_is_to_blame


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
def test_silence_ends_at_the_timeout(raw_server, reply: bytes) -> None:
    release = threading.Event()
    outcome = send(raw_server(reply, hold=release), timeout_seconds=0.3)
    release.set()
    assert outcome.error == "timeout"
    assert "in time" in outcome.detail


def test_a_server_without_tls_is_a_tls_error(raw_server) -> None:
    outcome = send(raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n").replace("http:", "https:"))
    assert outcome.error == "tls"


@pytest.mark.parametrize("url", ["http://", "nonsense", "http://[::1/"])
def test_a_url_that_is_none_is_an_outcome(url: str) -> None:
    assert send(url).error == "blocked"


def test_a_connection_that_breaks_before_tls_begins_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = sockets.TimedSocket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(server.getsockname())
        accepted, _address = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionResetError), warnings.catch_warnings():
            # The one that ssl wraps it in would be left to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            connections.adapter().context.wrap_socket(client, server_hostname="localhost")
    # By type: isinstance() would wake every lazy object that an earlier test left.
    kept = [one for one in gc.get_objects() if issubclass(type(one), sockets.TimedSSLSocket)]
    leaked = [one for one in kept if one.fileno() != -1]
    assert [one for one in leaked if one.getsockname()[1] == 0 or not _has_peer(one)] == []


def _has_peer(one: socket.socket) -> bool:
    try:
        return bool(socket.socket.getpeername(one))
    except OSError:
        return False


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """An egress proxy: keeps the request lines that it gets, and responds to each itself with all that it was sent:
    a tunnel is refused, anything else is done.
    """
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _address = server.accept()
                except OSError:
                    return
                with connection:
                    request = connection.recv(65536)
                    asked.append(request.split(b"\r\n")[0].decode())
                    told = request.partition(b"Proxy-Authorization: ")[2].split(b"\r\n")[0]
                    status = b"407 " if request.startswith(b"CONNECT") else b"200 "
                    headers = b"X-Seen: %b\r\nProxy-Authorization: %b\r\nConnection: close" % (told, told)
                    connection.sendall(b"HTTP/1.1 %b%b\r\n%b\r\n\r\n%b" % (status, told, headers, request))

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


def test_an_egress_proxy_gets_names_that_are_not_looked_up_here(proxy, settings) -> None:
    url, asked = proxy
    settings.ORDERHOOKS = {"REQUIRE_HTTPS": False, "EGRESS_PROXY": url}
    # The guard of the tests would refuse a look-up, and the one of the transport a connection to 127.0.0.1.
    assert send("http://shop.example/hook").status_code == 200
    assert asked == ["POST http://shop.example/hook HTTP/1.1"]


@pytest.mark.parametrize("login", ["shop:correct%20horse", "shop:caf%C3%A9-horse"])
@pytest.mark.parametrize("url", ["http://shop.example/hook", "https://shop.example/hook"])
def test_the_credentials_of_an_egress_proxy_are_not_kept_where_it_echoes_them(
    proxy, settings, url: str, login: str
) -> None:
    address, asked = proxy
    settings.ORDERHOOKS = {"REQUIRE_HTTPS": False, "EGRESS_PROXY": address.replace("//", f"//{login}@")}
    outcome = send(url)
    assert len(asked) == 1
    kept = str((outcome.detail, outcome.response_headers, outcome.response_body))
    assert "(redacted)" in kept, "the proxy echoed it"
    for encoding in ("latin-1", "utf-8"):
        assert b64encode(unquote(login).encode(encoding)).decode() not in kept


def test_literal_addresses_are_judged_before_the_proxy_is_called(proxy, settings) -> None:
    url, asked = proxy
    settings.ORDERHOOKS = {"REQUIRE_HTTPS": False, "EGRESS_PROXY": url}
    assert send("http://10.0.0.1/hook").error == "blocked"
    assert asked == []


def test_a_resolver_that_does_not_respond_ends_at_the_deadline(monkeypatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: release.wait(20) and [])
    outcome = send("http://shop.example/", timeout_seconds=0.3)
    assert (outcome.error, outcome.status_code) == ("dns", None)
    assert "took too long" in outcome.detail
    release.set()


def test_names_that_hang_leave_a_bounded_number_of_threads(monkeypatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(sockets, "_resolver", Resolver(2))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: release.wait(20) and [])
    details = [send("http://shop.example/", timeout_seconds=0.1).detail for _ in range(3)]
    assert ["does not respond" in detail for detail in details] == [False, False, True]
    release.set()


@pytest.mark.filterwarnings(
    "ignore:.*use of fork:DeprecationWarning"
)  # Python 3.12 warns of threads; the child has none
def test_connections_are_kept_alive_and_made_anew_after_a_fork(receiver: RecordingReceiver) -> None:
    ports: list[int] = []
    receiver.on_connection = ports.append
    send(receiver.url)
    send(receiver.url)
    assert len(set(ports)) == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if send(receiver.url).succeeded else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(set(ports)) == 2
    send(receiver.url)
    assert ports[-1] == ports[0]


def test_a_late_response_on_a_kept_connection_is_not_taken_for_the_next(raw_server) -> None:
    release = threading.Event()
    url = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nlate", hold=release)
    assert send(url, timeout_seconds=0.2).error == "timeout"
    release.set()
    # The server takes one connection: had the first been put back, this would read its rest.
    assert send(url, timeout_seconds=0.2).error in ("timeout", "reset", "refused")


def test_a_header_in_utf_8_is_read_as_what_was_meant(raw_server) -> None:
    outcome = send(raw_server("HTTP/1.1 200 OK\r\nX-City: Zürich\r\nContent-Length: 0\r\n\r\n".encode()))
    assert outcome.response_headers["X-City"] == "Zürich"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "\ufffd\ufffd"),
        ("\ud800", "\ufffd"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\tb\nc\r\nd", "a\tb\nc\nd"),
        ("\u202eexe.txt", "\ufffdexe.txt"),
        ("<script>", "<script>"),
        ("=cmd()", "=cmd()"),
    ],
)
def test_text_is_harmless_to_terminals_and_databases(text: bytes | str, expected: str) -> None:
    assert safe_text(text) == expected
