"""Servers that demand a login: a real authorization server, an endpoint behind it, and one behind mutual TLS."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent


class AuthorizationServer:
    """The program `tests.authorization_server`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token_url = f"http://127.0.0.1:{port}/token"

    @property
    def seen(self) -> dict[str, list[dict[str, Any]]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/introspect") as response:
            found: dict[str, list[dict[str, Any]]] = json.load(response)
            return found

    @property
    def tokens(self) -> list[str]:
        return [one["access_token"] for one in self.seen["granted"]]

    def set(self, **values: object) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/set", urlencode(values).encode()).close()


@contextmanager
def authorization_server() -> Iterator[AuthorizationServer]:
    command = [sys.executable, "-m", "tests.authorization_server"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        yield AuthorizationServer(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


class LoginEndpoint:
    """An endpoint that accepts what `accepts` says of the request's headers, and keeps all requests.

    With `context` it speaks TLS; then `certificates` has the subject of each client certificate that was presented.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Mapping[str, str]] = []
        self.certificates: list[str] = []
        self.ports: list[int] = []
        self.accepts = lambda headers: True
        self.body = b"thanks"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(dict(self.headers.items()))
                outer.ports.append(self.client_address[1])
                if isinstance(self.connection, ssl.SSLSocket):
                    subject: Any = (self.connection.getpeercert() or {}).get("subject", ())
                    outer.certificates.append(dict(pair for names in subject for pair in names).get("commonName", ""))
                is_accepted = outer.accepts({name.lower(): value for name, value in self.headers.items()})
                body = outer.body.replace(b"ECHO", json.dumps(dict(self.headers.items())).encode())
                self.send_response(200 if is_accepted else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_arguments: object) -> None:
                pass

            def get_request(self) -> Any:
                sock, address = super().get_request()
                if context is None:
                    return sock, address
                return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

            def shutdown_request(self, request: Any) -> None:
                # Unread data would reset the connection, and an alert that is under way with it.
                with contextlib.suppress(OSError), socket.socket(fileno=request.detach()) as plain:
                    plain.settimeout(2)
                    while plain.recv(4096):
                        pass

        self.server = Server(("127.0.0.1", 0), Handler)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self.server.server_port}/webhooks"

    def __enter__(self) -> "LoginEndpoint":
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def authorizations(self) -> list[str]:
        return [{name.lower(): value for name, value in one.items()}.get("authorization", "") for one in self.requests]
