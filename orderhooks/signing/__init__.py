"""Signing: made by `sending`, checked by `receiver`. `profiles` says in which ways requests can be signed."""

from orderhooks.signing.profiles import (
    PROFILES,
    STANDARD,
    Message,
    Profile,
    choices,
    generate_secret,
    kind,
    profile_headers,
    require_secret,
)
from orderhooks.signing.signatures import (
    PRIVATE,
    PUBLIC,
    SYMMETRIC,
    InvalidSecretError,
    public_key,
    sign,
    signature_header,
    verify,
)

__all__ = [
    "PRIVATE",
    "PROFILES",
    "PUBLIC",
    "STANDARD",
    "SYMMETRIC",
    "InvalidSecretError",
    "Message",
    "Profile",
    "choices",
    "generate_secret",
    "kind",
    "profile_headers",
    "public_key",
    "require_secret",
    "sign",
    "signature_header",
    "verify",
]
