"""Sockets that know how much time and room is left: each wait ends at the exchange's deadline, whoever drips.

A timeout of urllib3 or of a plain socket begins anew with each read, so a byte a second would hold a thread for ever.
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
from orderhooks.transport.lookups import Lookups, NotBegunError, TooLateError

# Status line and headers, and the body's 64 KiB on top; what is beyond is not read.
READ_BYTES = 128 * 1024
# What a deadline may be overrun by, once in an exchange.
SLACK_SECONDS = 0.1


_lookups = Lookups()


def _forget_lookups() -> None:
    # A fork has none of its parent's threads.
    global _lookups
    _lookups = Lookups()


os.register_at_fork(after_in_child=_forget_lookups)


class FailedError(OSError):
    """A failure whose kind and sentence are known where it happens."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Exchange:
    """One request and its answer: the deadline (monotonic seconds), the room left, and how far it got."""

    __slots__ = ("answered", "connected", "deadline", "ended", "failure", "reused", "room")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.room = READ_BYTES
        self.connected = False
        self.reused = False
        self.answered = False
        self.ended = False
        self.failure: FailedError | None = None

    def seconds_left(self) -> float:
        """Raises TimeoutError when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the attempt's time is up")
        return left

    def received(self, size: int) -> int:
        if size:
            self.answered = True
            self.room -= size
            if self.room < 0:
                raise self.fail("too_large", "The endpoint's answer has no end in sight.")
        else:
            self.ended = True
        return size

    def fail(self, kind: str, detail: str) -> FailedError:
        """Remember the failure, since libraries in between wrap what is raised; for `raise exchange.fail(…)`."""
        self.failure = FailedError(kind, detail)
        return self.failure


class AnswerReader(io.BufferedReader):
    """What http.client reads an answer from. On closing it tells the socket whether more lay there than the answer.

    A second answer that nobody asked for must not be taken for the next exchange's.
    """

    raw: "AnswerSource"

    def close(self) -> None:
        if not self.closed:
            self.raw.only_buffered = True
            self.raw.owner.spoilt |= bool(self.peek(1))
        super().close()


class AnswerSource(socket.SocketIO):
    only_buffered = False

    def __init__(self, owner: "TimedSocket | TimedSSLSocket") -> None:
        super().__init__(owner, "r")
        self.owner = owner

    def readinto(self, buffer: Any) -> int | None:
        return None if self.only_buffered else super().readinto(buffer)


class SteadyTimeout:
    """For sockets: a timeout that hardly differs is left as it is, since each new one is a call of the system."""

    def settimeout(self, seconds: float | None) -> None:
        now = self.gettimeout()  # type: ignore[attr-defined]
        if not seconds or not now or abs(seconds - now) > SLACK_SECONDS:
            super().settimeout(seconds)  # type: ignore[misc]


class TimedSocket(SteadyTimeout, socket.socket):
    """A TCP socket within an exchange. A connection that is kept alive is given the next exchange's."""

    exchange: Exchange
    spoilt = False

    def makefile(self, *_mode: Any, **_options: Any) -> Any:
        return _answer_reader(self)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.exchange.seconds_left())
        return self.exchange.received(super().recv_into(buffer, nbytes, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(self.exchange.seconds_left())
        super().sendall(data, flags)


class TimedSSLSocket(SteadyTimeout, ssl.SSLSocket):
    """The same over TLS. The handshake runs before the exchange is set, on the time that `dial` left."""

    exchange: Exchange | None = None
    spoilt = False

    def makefile(self, *_mode: Any, **_options: Any) -> Any:
        return _answer_reader(self)

    def getpeername(self) -> Any:
        """The peer's address. Asked as TLS begins; a connection that is gone by then is closed, as ssl forgets to."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, "the connection was broken before TLS began") from error

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        if self.exchange is None:
            return super().read(len, buffer)
        self.settimeout(self.exchange.seconds_left())
        answer = super().read(len, buffer)
        self.exchange.received(answer if isinstance(answer, int) else answer.__len__())
        return answer

    def send(self, data: Any, flags: int = 0) -> int:
        if self.exchange is not None:
            self.settimeout(self.exchange.seconds_left())
        return super().send(data, flags)


def _answer_reader(owner: TimedSocket | TimedSSLSocket) -> AnswerReader:
    owner._io_refs += 1  # type: ignore[union-attr]  # as socket.makefile() does: the reader's close() gives it back
    return AnswerReader(AnswerSource(owner))


def leftover(connection: Any) -> bool:
    """Whether something was received that no exchange asked for."""
    return connection.spoilt or (isinstance(connection, ssl.SSLSocket) and connection.pending() > 0)


def dial(
    host: str, port: int, exchange: Exchange, *, guarded: bool, allowed: Sequence[str], options: Iterable[Any]
) -> TimedSocket:
    """A connection to the first address of the host that answers; if guarded, only if all its addresses are open.

    Raises FailedError, and TimeoutError when the exchange's time is up.
    """
    found = look_up(host, port, exchange)
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
            # An address that does not answer leaves time for the others.
            connection.settimeout(exchange.seconds_left() / (len(found) - number))
            connection.connect((address, port))
            # What urllib3 does next, a TLS handshake perhaps, has the time that is left and no more.
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
        raise exchange.fail("connect_timeout", f"{host} did not answer the call in time.")
    if isinstance(problem, ConnectionRefusedError):
        raise exchange.fail("refused", f"Nothing listens at {host}, port {port}.")
    raise exchange.fail("refused", f"{host}, port {port}, can't be reached: {problem}.")


def look_up(host: str, port: int, exchange: Exchange) -> list[str]:
    """The host's addresses. In a thread, since the system's resolver knows no deadline. Raises FailedError."""
    try:
        return [str(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    answer = _lookups.ask(host, port, wait_seconds=exchange.seconds_left())
    if isinstance(answer, NotBegunError):
        raise exchange.fail("dns", "This machine's name resolver has stopped answering.")
    if isinstance(answer, TooLateError):
        raise exchange.fail("dns", f"Looking up {host} took too long.")
    if isinstance(answer, Exception) or not answer:
        raise exchange.fail("dns", f"The name {host} can't be found.")
    return answer
