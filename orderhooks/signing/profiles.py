"""Profiles: the ways in which a subscription's requests can be signed. All that differs between them stands here.

Beside the Standard Webhooks specification there are the headers of senders that receivers verify already. Sources:
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.stripe.com/webhooks#verify-manually
https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook-to-ensure-its-coming-from-shopify
https://woocommerce.com/document/webhooks/ (the payload's base64 HMAC-SHA256)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks.signing.signatures import (
    PRIVATE_PREFIX,
    SHARED_PREFIX,
    InvalidSecretError,
    base64_text,
    check_secret,
    keyed_hash,
    new_secret,
    signature_header,
)

__all__ = [
    "PROFILES",
    "STANDARD",
    "Message",
    "Profile",
    "choices",
    "generate_secret",
    "profile_headers",
    "require_secret",
    "secret_prefix",
]

STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class Message:
    """What is signed. `id` and `topic` are the event's, `timestamp` is the attempt's time in whole Unix seconds, and
    `body` is the body as it is sent.
    """

    id: str
    topic: str
    timestamp: int
    body: bytes


# Note [One signature only]
# The headers of GitHub, Shopify and WooCommerce hold one signature. While two secrets are in force, the older one
# signs, because every receiver has it. Once it has expired or was revoked, the newer one signs.


def _github(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256=" + keyed_hash(secrets[-1], message.body).hex(),
        "x-github-event": message.topic,
        "x-github-delivery": message.id,
    }


def _stripe(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    content = b"%d.%s" % (message.timestamp, message.body)
    signatures = [f"v1={keyed_hash(secret, content).hex()}" for secret in secrets]
    return {"stripe-signature": ",".join([f"t={message.timestamp}", *signatures])}


def _shopify(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": base64_text("", keyed_hash(secrets[-1], message.body)),
        "x-shopify-topic": message.topic,
        "x-shopify-webhook-id": message.id,
    }


def _woocommerce(message: Message, secrets: Sequence[str]) -> dict[str, str]:
    return {
        "x-wc-webhook-signature": base64_text("", keyed_hash(secrets[-1], message.body)),
        "x-wc-webhook-topic": message.topic,
        "x-wc-webhook-delivery-id": message.id,
    }


def _no_headers(_message: Message, _secrets: Sequence[str]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to sign requests.

    `label`: what people choose it by. `secret_prefix`: what its secrets begin with. `sender`: whose own headers it adds
    to the standard one; "" if it adds none. `headers`: makes those headers, from the secrets in force, newest first.
    `curl_headers`: the same headers in the words of a shell; see Note [Shell functions] in `sending.curl`.
    """

    label: str | Promise
    secret_prefix: str = SHARED_PREFIX
    sender: str = ""
    headers: Callable[[Message, Sequence[str]], dict[str, str]] = _no_headers
    curl_headers: tuple[str, ...] = ()


# By the value of `Subscription.signature`. A new one needs a migration, its headers' names in `transport.headers`, and
# a verifier that somebody else wrote in `tests/test_profiles.py`.
PROFILES: Mapping[str, Profile] = {
    STANDARD: Profile(_("Standard Webhooks (HMAC-SHA256)")),
    "ed25519": Profile(_("Standard Webhooks with a public key (Ed25519)"), secret_prefix=PRIVATE_PREFIX),
    "github": Profile(
        _("as GitHub signs"),
        sender="GitHub",
        headers=_github,
        curl_headers=(
            '"x-hub-signature-256: sha256=$(body | hmac "$text_key" | hex)"',
            '"x-github-event: $topic"',
            '"x-github-delivery: $id"',
        ),
    ),
    "stripe": Profile(
        _("as Stripe signs"),
        sender="Stripe",
        headers=_stripe,
        curl_headers=(
            '"stripe-signature: t=$timestamp,v1=$( { printf %s. "$timestamp"; body; } | hmac "$text_key" | hex)"',
        ),
    ),
    "shopify": Profile(
        _("as Shopify signs"),
        sender="Shopify",
        headers=_shopify,
        curl_headers=(
            '"x-shopify-hmac-sha256: $(body | hmac "$text_key" | openssl base64 -A)"',
            '"x-shopify-topic: $topic"',
            '"x-shopify-webhook-id: $id"',
        ),
    ),
    "woocommerce": Profile(
        _("as WooCommerce signs"),
        sender="WooCommerce",
        headers=_woocommerce,
        curl_headers=(
            '"x-wc-webhook-signature: $(body | hmac "$text_key" | openssl base64 -A)"',
            '"x-wc-webhook-topic: $topic"',
            '"x-wc-webhook-delivery-id: $id"',
        ),
    ),
}


def choices() -> list[tuple[str, str | Promise]]:
    """The profiles as a field of Django takes them."""
    return [(name, profile.label) for name, profile in PROFILES.items()]


def secret_prefix(profile: str) -> str:
    """The prefix of a profile's secrets."""
    return PROFILES[profile].secret_prefix


def generate_secret(profile: str = STANDARD) -> str:
    """A new secret for a signature profile: `whsec_` and the base64 of 48 random bytes, or an Ed25519 key pair."""
    return new_secret(secret_prefix(profile))


@sensitive_variables()
def require_secret(secret: str, profile: str = STANDARD) -> str:
    """Return the secret if it can sign requests of the profile. Raises InvalidSecretError otherwise."""
    if not secret.startswith(secret_prefix(profile)):
        raise InvalidSecretError(
            f"The signature {profile!r} needs a secret that begins with {secret_prefix(profile)!r}. Copy all of it."
        )
    check_secret(secret)
    return secret


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
    return {"webhook-signature": standard, **PROFILES[profile].headers(message, suitable)}
