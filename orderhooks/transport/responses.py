"""Responses: http.client's, with a fast path for the heads that nearly all endpoints send.

http.client parses headers with the email package, which takes longer than everything else about a response.
"""

import http.client
import re

__all__ = ["Response"]

# The head of a final HTTP/1.1 response with plain header lines: one line each, no control characters, only ASCII.
# Source: RFC 9112, 4 and 5; RFC 9110, 5.
HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([\t\x20-\x7e]*))?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)*)\r\n"
)
# A head with more lines is left to http.client, which refuses it.
MOST_LINES = 99


class Response(http.client.HTTPResponse):
    """A response whose head is parsed in one step if it is plain and fully received. http.client parses any other."""

    def begin(self) -> None:
        """Read the head. Raises what http.client raises."""
        if self.headers is not None:
            return None
        head = HEAD.match(self.fp.peek(1)) if self.fp else None
        if head is None or head[3].count(b"\n") > MOST_LINES:
            return super().begin()
        headers = _headers(head[3].decode())
        length = headers.get("content-length")
        if length is not None and not length.isdecimal():
            return super().begin()
        self.fp.read(head.end())
        self.version = 11
        self.code = self.status = int(head[1])
        self.reason = (head[2] or b"").decode().strip()
        self.headers = self.msg = headers
        # How the body ends (RFC 9112, 6.3), in http.client's attributes.
        self.chunked = (headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None if length is None or self.chunked else int(length)
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            self.length = 0
        closes = "close" in (headers.get("connection") or "").lower()
        self.will_close = closes or (self.length is None and not self.chunked)
        return None


def _headers(lines: str) -> http.client.HTTPMessage:
    headers = http.client.HTTPMessage()
    for line in lines.split("\r\n")[:-1]:
        name, _colon, value = line.partition(":")
        headers.set_raw(name, value.lstrip(" \t"))
    return headers
