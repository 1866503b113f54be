"""A receiver for development on this machine: it reports each webhook and can forward it. For `orderhooks_listen`."""

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

from orderhooks import formats
from orderhooks.receiver import InvalidWebhookError, ReceivedEvent, verify
from orderhooks.receiver.verification import check_signature
from orderhooks.receiver.views import CONSENT

__all__ = ["Arrival", "ForwardError", "Listener", "check_forward_url"]

HOST = "127.0.0.1"
FORWARD_SECONDS = 10.0
MOST_BODY_BYTES = 32 * 1024 * 1024
# Headers of the connection (RFC 9110, 7.6.1), and headers that http.client sets itself.
NOT_FORWARDED = frozenset(
    "connection content-length host keep-alive proxy-authorization proxy-connection te trailer transfer-encoding "
    "upgrade".split()
)


class ForwardError(Exception):
    """Webhooks can't be forwarded to the URL, or it did not respond. The message says why."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that arrived, and the status of the response to it.

    `problem` says why the request was refused, or why forwarding failed. `event` is None if it was refused, and if its
    body is in a format of the store's own, which only the store's receivers can read. `is_genuine`: its signature is
    valid.
    """

    event: ReceivedEvent | None
    problem: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_genuine: bool = True

    def header(self, name: str) -> str:
        """The value of a header, its name in lower case; "" if there is none."""
        return next((value for given, value in self.headers.items() if given.lower() == name), "")

    def pretty(self) -> str:
        """The body as indented JSON, a form with a line for each field, or another body as it is."""
        if self.header("content-type") == formats.FORM:
            return formats.readable_form(self.body.decode("utf-8", "replace"))
        try:
            return json.dumps(json.loads(self.body), indent=2, ensure_ascii=False)
        except ValueError:
            return self.body.decode("utf-8", "replace")


def check_forward_url(url: str) -> str:
    """Return the URL if `Listener` can forward to it. Raises ForwardError otherwise."""
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
    """An HTTP server on 127.0.0.1; a context manager.

    `format` is the name of the one that it is sent.

    It verifies each request with `secrets`; set them before the first request arrives, otherwise it gets 503. A valid
    webhook is forwarded unchanged to `forward_to` and gets the status of that response, or 502 without one. Without
    `forward_to` it gets 204. A request that is not valid gets 401.

    `on_arrival` is called for each request, never twice at the same time.
    """

    def __init__(
        self,
        *,
        port: int,
        on_arrival: Callable[[Arrival], object],
        forward_to: str = "",
        format: str = formats.STANDARD,
    ) -> None:
        self.secrets: list[str] = []
        self.format = format
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
                    listener.report(Arrival(None, problem, status, dict(self.headers.items()), b"", is_genuine=False))
                    self._respond(status)
                    return
                arrival = listener.receive(dict(self.headers.items()), self.rfile.read(int(length)))
                self._respond(arrival.status)

            def do_OPTIONS(self) -> None:
                # The handshake of CloudEvents.
                self.send_response(200)
                for name, value in CONSENT.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def _respond(self, status: int) -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Log nothing: `on_arrival` reports each request."""

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
        """Verify a request, forward it if it is valid, and report the result to `on_arrival`."""
        arrival = self._handle(headers, body)
        self.report(arrival)
        return arrival

    def report(self, arrival: Arrival) -> None:
        """Call `on_arrival` under a lock."""
        with self._one_at_a_time:
            self.on_arrival(arrival)

    @sensitive_variables()
    def _handle(self, headers: Mapping[str, str], body: bytes) -> Arrival:
        if not self.secrets:
            problem = "it arrived before the subscription was created"
            return Arrival(None, problem, 503, headers, body, is_genuine=False)
        try:
            event = self._verified(headers, body)
        except InvalidWebhookError as error:
            return Arrival(None, str(error), 401, headers, body, is_genuine=False)
        if not self.forward_to:
            return Arrival(event, "", 204, headers, body)
        try:
            return Arrival(event, "", forward(self.forward_to, headers, body), headers, body)
        except ForwardError as error:
            return Arrival(event, str(error), 502, headers, body)

    @sensitive_variables()
    def _verified(self, headers: Mapping[str, str], body: bytes) -> ReceivedEvent | None:
        """The event in a request, None in a format of the store's own. Raises InvalidWebhookError."""
        if self.format in formats.BUILT_IN:
            return verify(body, headers, self.secrets, binary_mode=self.format == "cloudevents_binary")
        check_signature(body, headers, self.secrets)
        return None


def _refused_length(length: str) -> int:
    """The status that refuses a Content-Length, or 0 if it is accepted. It may have any number of digits."""
    if not length:
        return 411
    fits = length.isascii() and length.isdecimal() and len(length) <= len(str(MOST_BODY_BYTES))
    return 0 if fits and int(length) <= MOST_BODY_BYTES else 413


def forward(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """POST the same body with the same headers, and return the status of the response.

    It does not use `transport`, whose address guard refuses this machine: here a developer chose the URL.

    Raises:
        ForwardError: there was no response within FORWARD_SECONDS.
    """
    parts = urlsplit(url)
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=FORWARD_SECONDS)
    # As a browser sends it: characters outside ASCII are percent-encoded, existing escapes are kept.
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
    kept = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
    try:
        connection.request("POST", target, body=body, headers=kept)
        return int(connection.getresponse().status)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise ForwardError(f"{url} did not respond: {error or type(error).__name__}.") from None
    finally:
        connection.close()
