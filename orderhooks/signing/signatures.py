"""Signatures of the Standard Webhooks specification: secrets and keys, signing and verifying.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.views.decorators.debug import sensitive_variables

__all__ = [
    "PRIVATE_PREFIX",
    "PUBLIC_PREFIX",
    "SHARED_PREFIX",
    "InvalidSecretError",
    "base64_text",
    "check_secret",
    "keyed_hash",
    "new_secret",
    "public_key",
    "sign",
    "signature_header",
    "verify",
]

# Shared between both sides; signs with HMAC (v1).
SHARED_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
# Ed25519: signs (v1a); the seed, then the public key.
PRIVATE_PREFIX = "whsk_"
# The key with which a receiver verifies v1a.
PUBLIC_PREFIX = "whpk_"


class InvalidSecretError(ValueError):
    """The secret or key is not valid. The message never holds it."""


def new_secret(prefix: str) -> str:
    """A new secret: `whsec_` and the base64 of 48 random bytes, or an Ed25519 key pair, `whsk_…`."""
    if prefix == PRIVATE_PREFIX:
        key = Ed25519PrivateKey.generate()
        return base64_text(PRIVATE_PREFIX, key.private_bytes_raw() + key.public_key().public_bytes_raw())
    return base64_text(SHARED_PREFIX, os.urandom(48))


@sensitive_variables()
def check_secret(secret: str) -> None:
    """Raises InvalidSecretError unless the secret can sign."""
    if secret.startswith(PRIVATE_PREFIX):
        _private_key(secret)
    else:
        _shared_key(secret)


@sensitive_variables()
def public_key(secret: str) -> str:
    """The public key `whpk_…` of a secret `whsk_…`, or "" for a shared secret. Raises InvalidSecretError."""
    if not secret.startswith(PRIVATE_PREFIX):
        return ""
    return base64_text(PUBLIC_PREFIX, _private_key(secret).public_key().public_bytes_raw())


@sensitive_variables()
def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Sign `id.timestamp.body`: `v1,<base64>` by HMAC-SHA256, or `v1a,<base64>` by Ed25519 if the secret is `whsk_…`.

    `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    if secret.startswith(PRIVATE_PREFIX):
        return base64_text("v1a,", _private_key(secret).sign(content))
    return base64_text("v1,", hmac.digest(_shared_key(secret), content, "sha256"))


def signature_header(secrets: Iterable[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature by each secret, in their order, separated by spaces.

    `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    return " ".join(sign(secret, webhook_id, timestamp, body) for secret in secrets)


@sensitive_variables()
def verify(keys: Iterable[str], header: str, webhook_id: str, timestamp: int, body: bytes) -> bool:
    """Whether any signature in the header is valid by any of the keys: `whsec_…` or, for Ed25519, `whpk_…`.

    It compares in constant time. `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    found = False
    signatures = header.split(" ")
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    for key in keys:
        # Lists, as every signature is compared: time tells nothing.
        if key.startswith(PUBLIC_PREFIX):
            public = _public_key(key)
            matches = [_is_valid(public, one[4:], content) for one in signatures if one.startswith("v1a,")]
        else:
            expected = sign(_require_shared(key), webhook_id, timestamp, body).encode()
            matches = [hmac.compare_digest(one.encode(), expected) for one in signatures if one.startswith("v1,")]
        found |= any(matches)
    return found


def keyed_hash(secret: str, content: bytes) -> bytes:
    """The HMAC-SHA256 of other senders than Standard Webhooks. Raises InvalidSecretError."""
    # These senders use the characters of the secret as the key, the prefix included.
    return hmac.digest(_require_shared(secret).encode(), content, "sha256")


def _require_shared(secret: str) -> str:
    if not secret.startswith(SHARED_PREFIX):
        raise InvalidSecretError(
            f"A shared secret begins with {SHARED_PREFIX!r}, and a receiver's public key with {PUBLIC_PREFIX!r}. Copy "
            "all of it."
        )
    return secret


def _shared_key(secret: str) -> bytes:
    key = _bytes(_require_shared(secret), SHARED_PREFIX)
    if len(key) not in SECRET_BYTES:
        raise InvalidSecretError(f"A signing secret holds 24 to 64 bytes. This one holds {len(key)}. Copy all of it.")
    return key


def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = _bytes(secret, PRIVATE_PREFIX)
    key = Ed25519PrivateKey.from_private_bytes(raw[:32]) if len(raw) == 64 else None
    if key is None or key.public_key().public_bytes_raw() != raw[32:]:
        raise InvalidSecretError(f"The part after {PRIVATE_PREFIX!r} is not a valid Ed25519 key pair. Copy all of it.")
    return key


def _public_key(text: str) -> Ed25519PublicKey:
    raw = _bytes(text, PUBLIC_PREFIX)
    if len(raw) != 32:
        raise InvalidSecretError(f"The part after {PUBLIC_PREFIX!r} is not a valid Ed25519 public key. Copy all of it.")
    return Ed25519PublicKey.from_public_bytes(raw)


def _is_valid(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _bytes(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecretError(f"The part after {prefix!r} is not valid base64. Copy all of it.") from None


def base64_text(prefix: str, raw: bytes) -> str:
    """The bytes in base64, after the prefix."""
    return prefix + base64.b64encode(raw).decode()
