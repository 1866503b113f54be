"""Signing: `sending` signs, `receiver` verifies. `profiles` says in which ways requests can be signed."""

from orderhooks.signing.profiles import (
    PROFILES,
    STANDARD,
    Message,
    Profile,
    choices,
    generate_secret,
    profile_headers,
    require_secret,
    secret_prefix,
)
from orderhooks.signing.signatures import (
    PRIVATE_PREFIX,
    PUBLIC_PREFIX,
    SHARED_PREFIX,
    InvalidSecretError,
    public_key,
    sign,
    signature_header,
    verify,
)

__all__ = [
    "PRIVATE_PREFIX",
    "PROFILES",
    "PUBLIC_PREFIX",
    "SHARED_PREFIX",
    "STANDARD",
    "InvalidSecretError",
    "Message",
    "Profile",
    "choices",
    "generate_secret",
    "profile_headers",
    "public_key",
    "require_secret",
    "secret_prefix",
    "sign",
    "signature_header",
    "verify",
]
