"""Signature profiles: each is accepted by a verifier that others wrote, until anything is altered."""

import base64
import subprocess

import pytest
import stripe
from gidgethub import ValidationFailure
from gidgethub.sansio import Event as GitHubEvent
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from orderhooks import signing
from orderhooks.models import Subscription
from orderhooks.receiver import InvalidWebhookError, verify
from orderhooks.signing import InvalidSecretError, Message
from orderhooks.transport import InvalidHeaderError, check_own_headers

ED25519 = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ED25519_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
BODY = '{"name":"Zoë ✓"}'.encode()
NOW = 1_795_428_000
MESSAGE = Message("evt_01KAR5BBR0D4Y8H6S1V3PBN2WK", "order.paid", NOW, BODY)
# The same each time: names of tests hold them.
NEWER, OLDER = (f"whsec_{base64.b64encode(bytes([letter]) * 48).decode()}" for letter in b"no")


def openssl(secret: str, content: bytes) -> bytes:
    """HMAC-SHA256 as the command-line program computes it."""
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{secret.encode().hex()}", "-binary"]
    try:
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("the program openssl is not installed")


def test_the_ed25519_vector_comes_out() -> None:
    body, moment = b'{"test": 2432232314}', 1614265330
    assert signing.sign(ED25519, "msg_p5jXN8AQM9LWM0D4loKWxJek", moment, body) == ED25519_SIGNATURE
    key = signing.public_key(ED25519)
    assert signing.verify([key], ED25519_SIGNATURE, "msg_p5jXN8AQM9LWM0D4loKWxJek", moment, body)


def test_libsodium_accepts_what_we_sign_with_ed25519() -> None:
    secret = signing.generate_secret("ed25519")
    header = signing.profile_headers("ed25519", MESSAGE, [secret])["webhook-signature"]
    key = VerifyKey(base64.b64decode(signing.public_key(secret).removeprefix("whpk_")))
    content = f"{MESSAGE.id}.{NOW}.".encode() + BODY
    key.verify(content, base64.b64decode(header.removeprefix("v1a,")))
    with pytest.raises(BadSignatureError):
        key.verify(content + b" ", base64.b64decode(header.removeprefix("v1a,")))


def test_gidgethub_accepts_what_we_sign_as_github() -> None:
    headers = signing.profile_headers("github", MESSAGE, [OLDER])
    event = GitHubEvent.from_http({**headers, "content-type": "application/json"}, BODY, secret=OLDER)
    assert (event.event, event.delivery_id, event.data) == ("order.paid", MESSAGE.id, {"name": "Zoë ✓"})
    with pytest.raises(ValidationFailure):
        GitHubEvent.from_http({**headers, "content-type": "application/json"}, BODY + b" ", secret=OLDER)


def test_the_stripe_library_accepts_what_we_sign_as_stripe_by_either_secret() -> None:
    header = signing.profile_headers("stripe", MESSAGE, [NEWER, OLDER])["stripe-signature"]
    for secret in (NEWER, OLDER):
        assert stripe.WebhookSignature.verify_header(BODY.decode(), header, secret, tolerance=None)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(BODY.decode() + " ", header, OLDER, tolerance=None)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(BODY.decode(), header, OLDER, tolerance=300)


@pytest.mark.parametrize(
    ("profile", "header"), [("shopify", "x-shopify-hmac-sha256"), ("woocommerce", "x-wc-webhook-signature")]
)
def test_openssl_comes_to_the_same_as_we_do_for_shopify_and_woocommerce(profile: str, header: str) -> None:
    headers = signing.profile_headers(profile, MESSAGE, [OLDER])
    assert base64.b64decode(headers[header], validate=True) == openssl(OLDER, BODY)
    assert [value for name, value in headers.items() if name.endswith("topic")] == ["order.paid"]


@pytest.mark.parametrize("profile", ["github", "shopify", "woocommerce"])
def test_a_profile_of_one_signature_uses_the_older_secret_until_it_ends(profile: str) -> None:
    both, newer, older = (
        {**signing.profile_headers(profile, MESSAGE, secrets), "webhook-signature": ""}
        for secrets in ([NEWER, OLDER], [NEWER], [OLDER])
    )
    assert both == older != newer


@pytest.mark.parametrize("profile", signing.PROFILES)
def test_every_profile_has_the_standard_header_which_our_receiver_accepts(profile: str) -> None:
    secret = signing.generate_secret(profile)
    body = (
        b'{"timestamp":"2026-11-23T10:00:00Z","type":"order.paid","sequence":1,"source":"","store":"","api_version":"",'
        b'"data":{}}'
    )
    message = Message(MESSAGE.id, "order.paid", NOW, body)
    headers = {
        **signing.profile_headers(profile, message, [secret]),
        "webhook-id": message.id,
        "webhook-timestamp": str(NOW),
    }
    key = signing.public_key(secret) or secret
    assert verify(body, headers, key, now=NOW).topic == "order.paid"
    with pytest.raises(InvalidWebhookError):
        verify(body + b" ", headers, key, now=NOW)


def test_the_profiles_that_can_be_chosen_are_those_that_can_be_signed() -> None:
    assert [name for name, _label in Subscription._meta.get_field("signature").flatchoices] == list(signing.PROFILES)


@pytest.mark.parametrize("profile", signing.PROFILES)
def test_a_subscriptions_own_headers_can_not_take_a_signatures_place(profile: str) -> None:
    secret = signing.generate_secret(profile)
    for name in signing.profile_headers(profile, MESSAGE, [secret]):
        with pytest.raises(InvalidHeaderError):
            check_own_headers({name: "forged"})


def test_secrets_of_both_kinds_sign_side_by_side_while_one_takes_over() -> None:
    private = signing.generate_secret("ed25519")
    header = signing.profile_headers("ed25519", MESSAGE, [private, OLDER])["webhook-signature"]
    assert [one.partition(",")[0] for one in header.split()] == ["v1a", "v1"]
    for key in (signing.public_key(private), OLDER):
        assert signing.verify([key], header, MESSAGE.id, NOW, BODY)


@pytest.mark.parametrize(("profile", "secret"), [("ed25519", OLDER), ("github", ED25519), ("standard", ED25519)])
def test_a_profile_without_a_secret_of_its_kind_says_what_to_do(profile: str, secret: str) -> None:
    with pytest.raises(InvalidSecretError, match="Rotate it"):
        signing.profile_headers(profile, MESSAGE, [secret])


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("whpk_", "not a valid Ed25519 public key"),
        ("whpk_AAAA", "not a valid Ed25519 public key"),
        ("whpk_!in the clear!", "not valid base64"),
        (ED25519, "public key"),  # a receiver has no business with the private one
    ],
)
def test_a_key_that_a_receiver_can_not_use_is_refused_without_being_shown(key: str, why: str) -> None:
    with pytest.raises(InvalidSecretError, match=why) as refused:
        signing.verify([key], ED25519_SIGNATURE, MESSAGE.id, NOW, BODY)
    assert key[5:] not in str(refused.value) or len(key) < 6


@pytest.mark.parametrize("secret", ["whsk_", "whsk_AAAA", ED25519[:-8] + "AAAAAA=="])
def test_an_invalid_private_key_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(InvalidSecretError, match="Ed25519") as refused:
        signing.sign(secret, MESSAGE.id, NOW, BODY)
    assert len(secret) < 6 or secret[5:] not in str(refused.value)


@pytest.mark.parametrize("signature", ["v1a,", "v1a,AAAA", "v1a,é", "v1a,not base64", "v1," + ED25519_SIGNATURE[4:]])
def test_a_signature_that_is_none_fits_no_public_key(signature: str) -> None:
    assert not signing.verify([signing.public_key(ED25519)], signature, MESSAGE.id, NOW, BODY)
