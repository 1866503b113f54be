"""A receiver for tests: a real HTTP server on loopback that keeps requests and responds as it is configured."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Received:
    headers: Message
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def topic(self) -> str:
        return self.event["type"]


class RecordingReceiver:
    """`answer` decides by the number of requests so far; it may also block, or end a process.

    `on_connection` gets the sender's port with each request. `asked` are the requests by OPTIONS, which `permission`
    answers."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[int], Answer] = lambda count: Answer()
        self.on_connection: Callable[[int], object] = lambda port: None
        self.arrived = threading.Condition()
        self.asked: list[Received] = []
        self.permission: Callable[[int], Answer] = lambda count: Answer(405)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.on_connection(self.client_address[1])
                body = self.rfile.read(int(self.headers["content-length"]))
                with outer.arrived:
                    outer.received.append(Received(self.headers, body))
                    count = len(outer.received)
                    outer.arrived.notify_all()
                self._respond(outer.answer(count))

            def do_OPTIONS(self) -> None:
                with outer.arrived:
                    outer.asked.append(Received(self.headers, self.rfile.read(int(self.headers["content-length"]))))
                    count = len(outer.asked)
                self._respond(outer.permission(count))

            def _respond(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_arguments: object) -> None:
                pass  # a sender that was killed breaks its connection

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def topics(self) -> list[str]:
        return [one.topic for one in self.received]

    def wait_for(self, count: int, *, seconds: float = 20) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, seconds), (
                f"only {len(self.received)} of {count} requests arrived in {seconds} s"
            )
