"""Signatures of the Standard Webhooks specification: made by `sending`, checked by `receiver`.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable

__all__ = ["InvalidSecretError", "generate_secret", "secret_bytes", "sign", "signature_header", "verify"]

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


class InvalidSecretError(ValueError):
    """A signing secret that is not `whsec_` and base64 of 24 to 64 bytes."""


def generate_secret() -> str:
    """A new secret of 48 random bytes, so that its base64 needs no padding."""
    return PREFIX + base64.b64encode(os.urandom(48)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key behind `whsec_…`. Raises InvalidSecretError, whose text never holds the secret."""
    if not secret.startswith(PREFIX):
        raise InvalidSecretError(f"A signing secret begins with {PREFIX!r}; copy it whole.")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecretError("The part behind 'whsec_' is not base64; copy the secret whole.") from None
    if len(key) not in SECRET_BYTES:
        raise InvalidSecretError(f"A signing secret holds 24 to 64 bytes; this one holds {len(key)}.")
    return key


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,<base64>`: HMAC-SHA256 over `id.timestamp.body`; `timestamp` in whole Unix seconds."""
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digest = hmac.new(secret_bytes(secret), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signature_header(secrets: Iterable[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header's value: a signature by each live secret, in the order given, one space between."""
    return " ".join(sign(secret, webhook_id, timestamp, body) for secret in secrets)


def verify(secrets: Iterable[str], header: str, webhook_id: str, timestamp: int, body: bytes) -> bool:
    """Whether any signature in the header is by any of the secrets. Compares in constant time."""
    candidates = [candidate.encode() for candidate in header.split(" ") if candidate.startswith("v1,")]
    expected = [sign(secret, webhook_id, timestamp, body).encode() for secret in secrets]
    return any([hmac.compare_digest(one, other) for one in candidates for other in expected])
