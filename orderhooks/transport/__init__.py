"""The transport: send one POST or OPTIONS and return its Outcome. The only package that uses requests and urllib3.

`posting` sends. `urls` and `addresses` judge where a request may go, `headers` what it may hold. `resolver`, `sockets`,
`connections` and `responses` limit its time and size. `outcomes`, `text` and `redaction` make what is stored of it.
`certificates` and `tokens` are how a client logs in.
"""

from orderhooks.transport.certificates import (
    CertificateFacts,
    ClientCertificate,
    InvalidCertificateError,
    facts_of,
    normalized,
)
from orderhooks.transport.headers import InvalidHeaderError, check_header_count, check_own_headers
from orderhooks.transport.outcomes import ABORTED, FILTERED, NOT_REQUESTED, UNSENT, Instruction, Outcome, next_step
from orderhooks.transport.posting import options, post, with_framing_headers
from orderhooks.transport.redaction import REDACTED, is_credential
from orderhooks.transport.text import safe_text
from orderhooks.transport.tokens import ClientCredentials, GrantedToken, LoginError, request_token
from orderhooks.transport.urls import UrlRefusedError, called_url, check_url

__all__ = [
    "ABORTED",
    "FILTERED",
    "NOT_REQUESTED",
    "REDACTED",
    "UNSENT",
    "CertificateFacts",
    "ClientCertificate",
    "ClientCredentials",
    "GrantedToken",
    "Instruction",
    "InvalidCertificateError",
    "InvalidHeaderError",
    "LoginError",
    "Outcome",
    "UrlRefusedError",
    "called_url",
    "check_header_count",
    "check_own_headers",
    "check_url",
    "facts_of",
    "is_credential",
    "next_step",
    "normalized",
    "options",
    "post",
    "request_token",
    "safe_text",
    "with_framing_headers",
]
