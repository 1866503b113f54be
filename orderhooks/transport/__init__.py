"""The transport: one POST, and what came of it as an Outcome. The only package that knows requests and urllib3.

`posting` does it. `urls` and `addresses` judge where it may go, `sockets` and `connections` keep its time and size,
`headers` what it may say, `outcomes`, `text` and `redaction` are for what is told of it.
"""

from orderhooks.transport.headers import InvalidHeaderError, check_own_headers
from orderhooks.transport.outcomes import Outcome, next_step
from orderhooks.transport.posting import framed, post
from orderhooks.transport.redaction import REDACTED, is_credential
from orderhooks.transport.text import safe_text
from orderhooks.transport.urls import UrlRefusedError, called_url, check_url

__all__ = [
    "REDACTED",
    "InvalidHeaderError",
    "Outcome",
    "UrlRefusedError",
    "called_url",
    "check_own_headers",
    "check_url",
    "framed",
    "is_credential",
    "next_step",
    "post",
    "safe_text",
]
