"""Sockets that know how much time and how many bytes are left: each wait ends at the exchange's deadline.

A timeout of urllib3 or of a plain socket begins again with each read, so that an endpoint that sends one byte a second
would hold a thread for ever.
"""

import errno
import io
import os
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from orderhooks.transport import addresses, urls
from orderhooks.transport.resolver import Resolver, ResolverBusyError, ResolverTimeoutError

# The status line, the headers and 64 KiB of the body. Nothing more is read.
READ_BYTES = 128 * 1024
# By how much one exchange may overrun its deadline.
SLACK_SECONDS = 0.1


_resolver = Resolver()


def _new_resolver() -> None:
    # A forked process has none of its parent's threads.
    global _resolver
    _resolver = Resolver()


os.register_at_fork(after_in_child=_new_resolver)


class FailedError(OSError):
    """A failure whose kind and description are known where it happens. `kind` is a key of `outcomes.NEXT_STEPS`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Exchange:
    """One request and its response: the deadline (monotonic seconds), the bytes that may still be read, the progress.

    `reused`: the connection had served an exchange before. `response_started`: a byte of the response was received.
    `end_received`: the endpoint has closed the connection. `failure`: what `fail` recorded.
    """

    __slots__ = ("connected", "deadline", "end_received", "failure", "remaining_bytes", "response_started", "reused")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.remaining_bytes = READ_BYTES
        self.connected = False
        self.reused = False
        self.response_started = False
        self.end_received = False
        self.failure: FailedError | None = None

    def seconds_left(self) -> float:
        """The seconds until the deadline, more than 0. Raises TimeoutError if it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the attempt's time is up")
        return left

    def received(self, size: int) -> int:
        """Count `size` bytes that were received; 0 is the end of the connection. Returns `size`.

        Raises FailedError if the response is longer than READ_BYTES.
        """
        if size:
            self.response_started = True
            self.remaining_bytes -= size
            if self.remaining_bytes < 0:
                raise self.fail("too_large", "The endpoint's response does not end.")
        else:
            self.end_received = True
        return size

    def fail(self, kind: str, detail: str) -> FailedError:
        """Record a failure and return it, for `raise exchange.fail(…)`. Libraries in between wrap what is raised."""
        self.failure = FailedError(kind, detail)
        return self.failure


class ResponseReader(io.BufferedReader):
    """The file from which http.client reads a response. When it is closed, it marks a socket that has unread data.

    Data after the response, such as a second one, must not be read as the response of the next exchange.
    """

    raw: "ResponseSource"

    def close(self) -> None:
        if not self.closed:
            self.raw.only_buffered = True
            self.raw.owner.desynchronized |= bool(self.peek(1))
        super().close()


class ResponseSource(socket.SocketIO):
    only_buffered = False

    def __init__(self, owner: "TimedSocket | TimedSSLSocket") -> None:
        super().__init__(owner, "r")
        self.owner = owner

    def readinto(self, buffer: Any) -> int | None:
        return None if self.only_buffered else super().readinto(buffer)


class SteadyTimeout:
    """For sockets: keep a timeout that differs by less than SLACK_SECONDS, because setting one is a system call."""

    def settimeout(self, seconds: float | None) -> None:
        now = self.gettimeout()  # type: ignore[attr-defined]
        if not seconds or not now or abs(seconds - now) > SLACK_SECONDS:
            super().settimeout(seconds)  # type: ignore[misc]


class TimedSocket(SteadyTimeout, socket.socket):
    """A TCP socket that obeys its exchange. A connection that is kept alive gets the next exchange.

    `desynchronized`: data was received that belongs to no exchange, so that the connection can't be used again.
    """

    exchange: Exchange
    desynchronized = False

    def makefile(self, *_mode: Any, **_options: Any) -> Any:
        return _response_reader(self)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.exchange.seconds_left())
        return self.exchange.received(super().recv_into(buffer, nbytes, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(self.exchange.seconds_left())
        super().sendall(data, flags)


class TimedSSLSocket(SteadyTimeout, ssl.SSLSocket):
    """The same over TLS. The handshake runs before `exchange` is set, within the timeout that `connect` left."""

    exchange: Exchange | None = None
    desynchronized = False

    def makefile(self, *_mode: Any, **_options: Any) -> Any:
        return _response_reader(self)

    def getpeername(self) -> Any:
        """The peer's address. `ssl` reads it before the handshake; it forgets to close a connection that is gone."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, "the connection was broken before TLS began") from error

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        if self.exchange is None:
            return super().read(len, buffer)
        self.settimeout(self.exchange.seconds_left())
        received = super().read(len, buffer)
        self.exchange.received(received if isinstance(received, int) else received.__len__())
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        if self.exchange is not None:
            self.settimeout(self.exchange.seconds_left())
        return super().send(data, flags)


def _response_reader(owner: TimedSocket | TimedSSLSocket) -> ResponseReader:
    owner._io_refs += 1  # type: ignore[union-attr]  # as socket.makefile() does: the reader's close() gives it back
    return ResponseReader(ResponseSource(owner))


def has_unread_data(connection: Any) -> bool:
    """Whether a TimedSocket or TimedSSLSocket has received data that belongs to no exchange."""
    return connection.desynchronized or (isinstance(connection, ssl.SSLSocket) and connection.pending() > 0)


def connect(
    host: str, port: int, exchange: Exchange, *, guarded: bool, allowed: Sequence[str], options: Iterable[Any]
) -> TimedSocket:
    """Connect to the first address of the host that accepts.

    If `guarded`, all addresses of the host must be open to us: public, or in one of the networks `allowed`. `options`
    are arguments of `setsockopt`.

    Raises:
        FailedError: an address is blocked, the name can't be found, or no address accepts.
        TimeoutError: the exchange's time is up.
    """
    found = resolve(host, port, exchange)
    if guarded:
        for address in found:
            try:
                urls.require_open(addresses.without_zone(address), host, allowed)
            except ValueError as error:
                raise exchange.fail("blocked", str(error)) from None
    problem: OSError | None = None
    for number, address in enumerate(found):
        connection = TimedSocket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        connection.exchange = exchange
        try:
            for option in options:
                connection.setsockopt(*option)
            # An address that does not respond leaves time for the others.
            connection.settimeout(exchange.seconds_left() / (len(found) - number))
            connection.connect((address, port))
            # What urllib3 does next, such as a TLS handshake, has the time that is left.
            connection.settimeout(exchange.seconds_left())
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            exchange.connected = True
            return connection
    if isinstance(problem, TimeoutError):
        raise exchange.fail("connect_timeout", f"{host} did not accept a connection in time.")
    if isinstance(problem, ConnectionRefusedError):
        raise exchange.fail("refused", f"Nothing listens at {host}, port {port}.")
    raise exchange.fail("refused", f"{host}, port {port}, can't be reached: {problem}.")


def resolve(host: str, port: int, exchange: Exchange) -> list[str]:
    """The host's addresses; those of a literal address are itself. Raises FailedError if the name can't be found."""
    try:
        return [str(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    result = _resolver.resolve(host, port, timeout_seconds=exchange.seconds_left())
    if isinstance(result, ResolverBusyError):
        raise exchange.fail("dns", "This machine's name resolver does not respond.")
    if isinstance(result, ResolverTimeoutError):
        raise exchange.fail("dns", f"Looking up {host} took too long.")
    if isinstance(result, Exception) or not result:
        raise exchange.fail("dns", f"The name {host} can't be found.")
    return result
