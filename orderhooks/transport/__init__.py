"""The transport: one POST, and what came of it as an Outcome. The only package that knows requests and urllib3.

`posting` does it. `urls` and `addresses` judge where it may go, `sockets` and `connections` keep its time and size,
`outcomes` and `text` are for what is told of it.
"""

from orderhooks.transport.outcomes import Outcome
from orderhooks.transport.posting import post
from orderhooks.transport.text import safe_text
from orderhooks.transport.urls import UrlRefusedError, check_url

__all__ = ["Outcome", "UrlRefusedError", "check_url", "post", "safe_text"]
