"""Signatures of the Standard Webhooks specification, and of senders whose signatures receivers already verify.

`sending` signs, `receiver` verifies. Sources:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.stripe.com/webhooks#verify-manually
https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook-to-ensure-its-coming-from-shopify
https://woocommerce.com/document/webhooks/ (the payload's base64 HMAC-SHA256)
"""

import base64
import binascii
import hmac
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.views.decorators.debug import sensitive_variables

__all__ = [
    "PROFILES",
    "InvalidSecretError",
    "Message",
    "generate_secret",
    "profile_headers",
    "public_key",
    "require_secret",
    "secret_prefix",
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


@dataclass(frozen=True, slots=True)
class Message:
    """What is signed. `id` and `topic` are the event's, `timestamp` is the attempt's time in whole Unix seconds, and
    `body` is the body as it is sent.
    """

    id: str
    topic: str
    timestamp: int
    body: bytes


def generate_secret(profile: str = "standard") -> str:
    """A new secret for a signature profile: `whsec_` and the base64 of 48 random bytes, or an Ed25519 key pair."""
    if secret_prefix(profile) == PRIVATE_PREFIX:
        key = Ed25519PrivateKey.generate()
        return _text(PRIVATE_PREFIX, key.private_bytes_raw() + key.public_key().public_bytes_raw())
    return _text(SHARED_PREFIX, os.urandom(48))


@sensitive_variables()
def require_secret(secret: str, profile: str = "standard") -> str:
    """Return the secret if it can sign requests of the profile. Raises InvalidSecretError otherwise."""
    if not secret.startswith(secret_prefix(profile)):
        raise InvalidSecretError(
            f"The signature {profile!r} needs a secret that begins with {secret_prefix(profile)!r}. Copy all of it."
        )
    if secret.startswith(PRIVATE_PREFIX):
        _private_key(secret)
    else:
        _shared_key(secret)
    return secret


def secret_prefix(profile: str) -> str:
    """The prefix of a profile's secrets."""
    return PRIVATE_PREFIX if profile == "ed25519" else SHARED_PREFIX


@sensitive_variables()
def public_key(secret: str) -> str:
    """The public key `whpk_…` of a secret `whsk_…`, or "" for a shared secret. Raises InvalidSecretError."""
    return (
        _text(PUBLIC_PREFIX, _private_key(secret).public_key().public_bytes_raw())
        if secret.startswith(PRIVATE_PREFIX)
        else ""
    )


@sensitive_variables()
def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Sign `id.timestamp.body`: `v1,<base64>` by HMAC-SHA256, or `v1a,<base64>` by Ed25519 if the secret is `whsk_…`.

    `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    if secret.startswith(PRIVATE_PREFIX):
        return _text("v1a,", _private_key(secret).sign(content))
    return _text("v1,", hmac.digest(_shared_key(secret), content, "sha256"))


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
        if key.startswith(PUBLIC_PREFIX):
            public = _public_key(key)
            found |= any([_is_valid(public, one[4:], content) for one in signatures if one.startswith("v1a,")])
        else:
            expected = sign(_require_shared(key), webhook_id, timestamp, body).encode()
            found |= any([hmac.compare_digest(one.encode(), expected) for one in signatures if one.startswith("v1,")])
    return found


def profile_headers(profile: str, message: Message, secrets: Sequence[str]) -> dict[str, str]:
    """The signature headers of a request in a profile. `secrets`: those in force, the newest first.

    Every profile includes the standard header, so that a receiver can change to it at any time.

    Raises:
        InvalidSecretError: a secret is not valid, or none fits the profile.
    """
    suitable = [secret for secret in secrets if secret.startswith(secret_prefix(profile))]
    if not suitable:
        raise InvalidSecretError(f"The subscription has no secret in force for the signature {profile!r}. Rotate it.")
    standard = signature_header(secrets, message.id, message.timestamp, message.body)
    return {"webhook-signature": standard, **PROFILES[profile](message, suitable)}


# Note [One signature only]
# The headers of GitHub, Shopify and WooCommerce hold one signature. While two secrets are in force, the older one
# signs, because every receiver has it. Once it has expired or was revoked, the newer one signs.


def _github(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256=" + _hmac(secrets[-1], message.body).hex(),
        "x-github-event": message.topic,
        "x-github-delivery": message.id,
    }


def _stripe(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    content = b"%d.%s" % (message.timestamp, message.body)
    signatures = [f"v1={_hmac(secret, content).hex()}" for secret in secrets]
    return {"stripe-signature": ",".join([f"t={message.timestamp}", *signatures])}


def _shopify(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": _text("", _hmac(secrets[-1], message.body)),
        "x-shopify-topic": message.topic,
        "x-shopify-webhook-id": message.id,
    }


def _woocommerce(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-wc-webhook-signature": _text("", _hmac(secrets[-1], message.body)),
        "x-wc-webhook-topic": message.topic,
        "x-wc-webhook-delivery-id": message.id,
    }


def _no_headers(_message: Message, _secrets: Sequence[str]) -> dict[str, str]:
    return {}


# The headers that each profile adds to the standard one.
PROFILES: Mapping[str, Callable[[Message, Sequence[str]], dict[str, str]]] = {
    "standard": _no_headers,
    "ed25519": _no_headers,  # the secret's prefix decides how the standard header is signed
    "github": _github,
    "stripe": _stripe,
    "shopify": _shopify,
    "woocommerce": _woocommerce,
}


def _hmac(secret: str, content: bytes) -> bytes:
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


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()
