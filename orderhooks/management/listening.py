"""Listening: a receiver for development on this machine, which tells of each webhook and can pass it on."""

import http.client
import json
import string
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from django.views.decorators.debug import sensitive_variables

from orderhooks.receiver import InvalidWebhookError, ReceivedEvent, verify

__all__ = ["Arrival", "ForwardError", "Listener", "check_forward_url"]

HOST = "127.0.0.1"
FORWARD_SECONDS = 10.0
MOST_BODY_BYTES = 32 * 1024 * 1024
# What concerns one connection alone (RFC 9110, 7.6.1), or is made anew.
NOT_FORWARDED = frozenset(
    "connection content-length host keep-alive proxy-authorization proxy-connection te trailer transfer-encoding "
    "upgrade".split()
)


class ForwardError(Exception):
    """A URL that nothing can be passed on to, or that gave no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook that came: the event, or why it is none, and what was answered."""

    event: ReceivedEvent | None
    problem: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def pretty(self) -> str:
        """The body, laid out to be read."""
        try:
            return json.dumps(json.loads(self.body), indent=2, ensure_ascii=False)
        except ValueError:
            return self.body.decode("utf-8", "replace")


def check_forward_url(url: str) -> str:
    """The URL, if it is one that `Listener` can pass webhooks on to. Raises ForwardError."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ForwardError(
            f"{url!r} is not an http or https URL. Give one to forward to, such as http://127.0.0.1:8000/webhooks/."
        )
    return url


class Listener:
    """A server on loopback; a context manager. `on_arrival` is called for each request, one at a time.

    `secrets` are those that may sign; set them before anything arrives. A webhook that holds is passed on to
    `forward_to`, if given, as it came, and answered with that answer's status; else with 204. Others get 401.
    """

    def __init__(self, *, port: int, on_arrival: Callable[[Arrival], object], forward_to: str = "") -> None:
        self.secrets: list[str] = []
        self.on_arrival = on_arrival
        self.forward_to = forward_to
        self._one_at_a_time = threading.Lock()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_POST(self) -> None:
                length = self.headers.get("content-length") or ""
                if status := _refused_length(length):
                    self.close_connection = True
                    problem = f"a request without a body of at most {MOST_BODY_BYTES >> 20} MiB"
                    listener.tell(Arrival(None, problem, status, dict(self.headers.items()), b""))
                    self._answer(status)
                    return
                arrival = listener.receive(dict(self.headers.items()), self.rfile.read(int(length)))
                self._answer(arrival.status)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Told by `on_arrival`."""

        self.server = ThreadingHTTPServer((HOST, port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{HOST}:{self.server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, name="orderhooks-listener", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def receive(self, headers: Mapping[str, str], body: bytes) -> Arrival:
        """What came of a request, told to `on_arrival` too."""
        event, problem, status = self._judge(headers, body)
        arrival = Arrival(event, problem, status, headers, body)
        self.tell(arrival)
        return arrival

    def tell(self, arrival: Arrival) -> None:
        """Call `on_arrival`, one at a time."""
        with self._one_at_a_time:
            self.on_arrival(arrival)

    @sensitive_variables()
    def _judge(self, headers: Mapping[str, str], body: bytes) -> tuple[ReceivedEvent | None, str, int]:
        if not self.secrets:
            return None, "it came before the subscription was made", 503
        try:
            event = verify(body, headers, self.secrets)
        except InvalidWebhookError as error:
            return None, str(error), 401
        if not self.forward_to:
            return event, "", 204
        try:
            return event, "", forward(self.forward_to, headers, body)
        except ForwardError as error:
            return event, str(error), 502


def _refused_length(length: str) -> int:
    """The status for a Content-Length that is not taken; 0 for one that is. Any number of digits may come."""
    if not length:
        return 411
    fits = length.isascii() and length.isdecimal() and len(length) <= len(str(MOST_BODY_BYTES))
    return 0 if fits and int(length) <= MOST_BODY_BYTES else 413


def forward(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """POST the same body with the same headers. The answer's status; raises ForwardError if there is none.

    Not by `transport`, which keeps away from this machine: a developer names the URL.
    """
    parts = urlsplit(url)
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=FORWARD_SECONDS)
    # As a browser sends it: what is not ASCII in percent escapes, what is escaped already as it is.
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
    kept = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
    try:
        connection.request("POST", target, body=body, headers=kept)
        return int(connection.getresponse().status)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise ForwardError(f"{url} gave no answer: {error or type(error).__name__}.") from None
    finally:
        connection.close()
