"""Signatures: of the Standard Webhooks specification, and the headers of senders that receivers already verify.

Made by `sending`, checked by `receiver`. Sources:
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
    "kind",
    "profile_headers",
    "public_key",
    "require_secret",
    "sign",
    "signature_header",
    "verify",
]

# Shared between both sides; signs with HMAC (v1).
SYMMETRIC = "whsec_"
SECRET_BYTES = range(24, 65)
# Ed25519: signs (v1a); the seed, then the public key.
PRIVATE = "whsk_"
# What a receiver checks v1a with.
PUBLIC = "whpk_"


class InvalidSecretError(ValueError):
    """A key that is not what it should be; the text never holds it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is signed: the event's id and topic, the attempt's time in whole Unix seconds, the body as sent."""

    id: str
    topic: str
    timestamp: int
    body: bytes


def generate_secret(profile: str = "standard") -> str:
    """A new secret for a profile: `whsec_` and 48 random bytes (whose base64 needs no padding), or an Ed25519 key."""
    if kind(profile) == PRIVATE:
        key = Ed25519PrivateKey.generate()
        return _text(PRIVATE, key.private_bytes_raw() + key.public_key().public_bytes_raw())
    return _text(SYMMETRIC, os.urandom(48))


@sensitive_variables()
def require_secret(secret: str, profile: str = "standard") -> str:
    """The secret, if requests of that profile can be signed with it. Raises InvalidSecretError."""
    if not secret.startswith(kind(profile)):
        raise InvalidSecretError(
            f"The signature {profile!r} needs a secret that begins with {kind(profile)!r}; copy it whole."
        )
    if secret.startswith(PRIVATE):
        _private_key(secret)
    else:
        _shared_key(secret)
    return secret


def kind(profile: str) -> str:
    """What a profile's secrets begin with."""
    return PRIVATE if profile == "ed25519" else SYMMETRIC


@sensitive_variables()
def public_key(secret: str) -> str:
    """The `whpk_…` that belongs to a `whsk_…`; "" for a shared secret, which has none. Raises InvalidSecretError."""
    return _text(PUBLIC, _private_key(secret).public_key().public_bytes_raw()) if secret.startswith(PRIVATE) else ""


@sensitive_variables()
def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """One signature of `id.timestamp.body`: `v1,<base64>` by HMAC-SHA256, or `v1a,<base64>` if the secret is `whsk_…`.

    `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    if secret.startswith(PRIVATE):
        return _text("v1a,", _private_key(secret).sign(content))
    return _text("v1,", hmac.digest(_shared_key(secret), content, "sha256"))


def signature_header(secrets: Iterable[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature by each live secret, in the order given, one space between."""
    return " ".join(sign(secret, webhook_id, timestamp, body) for secret in secrets)


@sensitive_variables()
def verify(keys: Iterable[str], header: str, webhook_id: str, timestamp: int, body: bytes) -> bool:
    """Whether any signature in the header fits any of the keys: `whsec_…` or, for Ed25519, `whpk_…`.

    Compares in constant time. Raises InvalidSecretError.
    """
    found = False
    signatures = header.split(" ")
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    for key in keys:
        if key.startswith(PUBLIC):
            public = _public_key(key)
            found |= any([_fits(public, one[4:], content) for one in signatures if one.startswith("v1a,")])
        else:
            expected = sign(_require_shared(key), webhook_id, timestamp, body).encode()
            found |= any([hmac.compare_digest(one.encode(), expected) for one in signatures if one.startswith("v1,")])
    return found


def profile_headers(profile: str, message: Message, secrets: Sequence[str]) -> dict[str, str]:
    """The signature headers of a request, in the profile's way. `secrets`: those in force, newest first.

    Every profile has the standard header, so that a receiver can move over to it at any time.
    Raises InvalidSecretError.
    """
    fitting = [secret for secret in secrets if secret.startswith(kind(profile))]
    if not fitting:
        raise InvalidSecretError(f"The subscription has no secret in force for the signature {profile!r}: rotate it.")
    standard = signature_header(secrets, message.id, message.timestamp, message.body)
    return {"webhook-signature": standard, **PROFILES[profile](message, fitting)}


# Note [One signature only]
# GitHub's, Shopify's and WooCommerce's headers have room for one signature. While two secrets are in force it is by the
# older one, which every receiver has; once that one has run out, or was revoked, the newer one signs.


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


def _nothing_more(_message: Message, _secrets: Sequence[str]) -> dict[str, str]:
    return {}


# What each profile adds to the standard header.
PROFILES: Mapping[str, Callable[[Message, Sequence[str]], dict[str, str]]] = {
    "standard": _nothing_more,
    "ed25519": _nothing_more,  # the kind of the secret decides how the standard header is signed
    "github": _github,
    "stripe": _stripe,
    "shopify": _shopify,
    "woocommerce": _woocommerce,
}


def _hmac(secret: str, content: bytes) -> bytes:
    # These senders' keys are the secret's own characters, the prefix included.
    return hmac.digest(_require_shared(secret).encode(), content, "sha256")


def _require_shared(secret: str) -> str:
    if not secret.startswith(SYMMETRIC):
        raise InvalidSecretError(
            f"A shared secret begins with {SYMMETRIC!r}, and a receiver's public key with {PUBLIC!r}; copy it whole."
        )
    return secret


def _shared_key(secret: str) -> bytes:
    key = _bytes(_require_shared(secret), SYMMETRIC)
    if len(key) not in SECRET_BYTES:
        raise InvalidSecretError(f"A signing secret holds 24 to 64 bytes; this one holds {len(key)}.")
    return key


def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = _bytes(secret, PRIVATE)
    key = Ed25519PrivateKey.from_private_bytes(raw[:32]) if len(raw) == 64 else None
    if key is None or key.public_key().public_bytes_raw() != raw[32:]:
        raise InvalidSecretError(f"The part behind {PRIVATE!r} is no Ed25519 key of 64 bytes; copy it whole.")
    return key


def _public_key(text: str) -> Ed25519PublicKey:
    raw = _bytes(text, PUBLIC)
    if len(raw) != 32:
        raise InvalidSecretError(f"The part behind {PUBLIC!r} is no Ed25519 public key of 32 bytes; copy it whole.")
    return Ed25519PublicKey.from_public_bytes(raw)


def _fits(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _bytes(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecretError(f"The part behind {prefix!r} is not base64; copy it whole.") from None


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()
