"""The fast path for a response's head gives the same as http.client."""

import http.client
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderhooks.transport.responses import Response

PLAIN = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length:2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\ncontent-length: 7\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 500 \r\nconnection: Close\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 503\r\nretry-after: 120\r\n\r\nuntil it closes",
    b"HTTP/1.1 302  Found \r\nlocation: https://example.com/?a=b:c\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: 1\r\nX: 2\r\nempty:\r\ntrailing: a  \r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 98 + b"content-length: 2\r\n\r\nok",
]
ODD = [
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/2 200 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 999 Nothing\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nspaced : a\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n: a\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nname: M\xfcller\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nname: a\x0bb\x85\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2 \r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nlong: " + b"a" * 9000 + b"\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nlong: " + b"a" * 70_000 + b"\r\n\r\n",
]


class Wire:
    """A connection from which these bytes come, and which then ends."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        self.lines_read = 0

    def makefile(self, _mode: str) -> io.BufferedReader:
        wire = self

        class Reader(io.BufferedReader):
            def readline(self, size: int | None = -1, /) -> bytes:
                wire.lines_read += 1
                return super().readline(size)

        return Reader(io.BytesIO(self.received))


def read(kind: type[http.client.HTTPResponse], received: bytes) -> tuple[Any, ...]:
    """All that a reader learns of a response, or the error that it gets."""
    response = kind(Wire(received), method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        found = (response.status, response.reason, response.version, response.headers.items(), response.length)
        return (*found, response.chunked, response.will_close, response.read())
    except (http.client.HTTPException, ValueError) as error:
        return type(error), str(error)
    finally:
        response.close()


@pytest.mark.parametrize("received", PLAIN + ODD)
def test_a_response_is_read_as_http_client_reads_it(received: bytes) -> None:
    assert read(Response, received) == read(http.client.HTTPResponse, received)


@pytest.mark.parametrize("received", PLAIN)
def test_a_plain_head_is_parsed_in_one_step(received: bytes) -> None:
    wire = Wire(received)
    with Response(wire, method="POST") as response:  # type: ignore[arg-type]
        response.begin()
        assert wire.lines_read == 0
        response.begin()  # a second time changes nothing
        assert response.status == int(received[9:12])


PIECES = [b"HTTP/1.1 ", b"200 ", b"OK", b"\r\n", b"\n", b"a", b": ", b":", b" ", b"\t", b"\x00", b"\xff", b"close"]
FRAMES = [
    b"content-length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"connection: close\r\n",
    b"content-length: \r\n",
]


@given(st.lists(st.sampled_from(PIECES + FRAMES), max_size=12).map(b"".join), st.booleans())
def test_whatever_comes_is_read_as_http_client_reads_it(pieces: bytes, begins_well: bool) -> None:
    received = (b"HTTP/1.1 200 OK\r\n" if begins_well else b"") + pieces + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert read(Response, received) == read(http.client.HTTPResponse, received)
