"""What receivers do that mean harm, on raw sockets: each ends by itself when the sender has gone."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

BODY = b"{}"
DRIP_SECONDS = 0.05
# More than any bound; a flood that nobody stops ends here.
FLOOD_BYTES = 200 * 1024 * 1024
KIB = 1024
OK = b"HTTP/1.1 200 OK\r\n"
OK_CLOSE = OK + b"Connection: close\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))


def say(*parts: bytes) -> Act:
    """Read the request, answer, hang up."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"".join(parts))
        await writer.drain()

    return act


def answer(status: str, *headers: str, body: bytes = b"") -> Act:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return say("\r\n".join(lines).encode("latin-1"), body)


def hold(*parts: bytes, read: bool = True) -> Act:
    """Say it and then nothing more, for as long as the sender waits."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if read:
            await read_request(reader)
        writer.write(b"".join(parts))
        await writer.drain()
        await reader.read()

    return act


def drip(first: bytes, drop: bytes, *, read: bool = True) -> Act:
    """Say the first part, then a drop every now and then, without end."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if read:
            await read_request(reader)
        writer.write(first)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(DRIP_SECONDS)

    return act


def flood(first: bytes, drop: bytes, *, once: int = 64 * KIB) -> Act:
    """Say the first part, then the other without end, as fast as it goes."""
    many = drop * max(1, once // len(drop))

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(first)
        for _ in range(FLOOD_BYTES // len(many)):
            if writer.is_closing():
                return
            writer.write(many)
            await writer.drain()

    return act


def reset(*parts: bytes, read: bool = True) -> Act:
    """Say it, then break the connection with a reset."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if read:
            await read_request(reader)
        if parts:
            writer.write(b"".join(parts))
            await writer.drain()
            # Time for the bytes to be read: a reset also discards what lies in the sender's buffer.
            await asyncio.sleep(DRIP_SECONDS * 2)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return act


def half_close(*parts: bytes) -> Act:
    """Say it and close this direction alone."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"".join(parts))
        writer.write_eof()
        await reader.read()

    return act


def keep_then(*, then: Callable[[asyncio.StreamWriter], None]) -> Act:
    """Answer the first request of a connection and keep it; do `then` as soon as the second one is there."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Content-Length: 0\r\n\r\n")
        await writer.drain()
        await read_request(reader)
        then(writer)

    return act


async def two_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Two answers to one request: the second must not be taken for that of the next request."""
    await read_request(reader)
    smuggled = OK + b"Content-Length: 8\r\n\r\nsmuggled"
    writer.write(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n" + smuggled)
    await writer.drain()
    await reader.read()


async def refuse_to_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and not a byte of the request."""
    await asyncio.sleep(3)


def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
