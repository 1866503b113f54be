"""A TCP relay on loopback that a test puts before a server which others use too, and cuts."""

import contextlib
import socket
import threading
from typing import Self


class Relay:
    """Forwards connections to `port` of this host. After `cut`, connections are gone and new ones are refused."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._accept_connections()
        return self

    def __exit__(self, *_error: object) -> None:
        self.cut()

    def cut(self) -> None:
        for one in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.open = []

    def restore(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self._accept_connections()

    def _accept_connections(self) -> None:
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                self.open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
