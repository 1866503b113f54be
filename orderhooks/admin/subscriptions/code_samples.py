"""Code for receivers: what a subscription's requests carry, and programs that verify them, ready to be copied."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from orderhooks import catalogue, formats, signing, transport
from orderhooks.encryption import HIDDEN
from orderhooks.models import Subscription

# Where the programs read their secret.
SECRET_VARIABLE = "SHOP_WEBHOOK_SECRET"  # noqa: S105 - a name, no secret
# Paths that mean the same in every language; for others the programs show one to be replaced.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./~-]*")
EXAMPLE_PATH = "/webhooks"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A program: what it is for, how to run it, and its text."""

    name: str
    title: str | Promise
    needs: str
    code: str


# The template's name, what to call it, and how to get what it needs.
PROGRAMS: tuple[tuple[str, str | Promise, str], ...] = (
    ("django", _("Python, with Django"), "python -m pip install <path of the checkout or wheel of orderhooks>"),
    ("flask", _("Python, with Flask"), "pip install flask standardwebhooks"),
    ("node", _("Node.js"), "node receiver.mjs"),
    ("php", _("PHP"), "php -S 127.0.0.1:8080 receiver.php"),
)
# How the programs read the body of a built-in format. That of a store's own is `raw`: our kit does not read it.
KINDS = {
    formats.STANDARD: "json",
    "thin": "json",
    "cloudevents": "json",
    "cloudevents_binary": "binary",
    "form": "form",
}
# What reads these is a chat program.
WITHOUT_PROGRAMS = ("slack", "teams")
RAW, OUR_KIT = "raw", "django"
_OTHER_SENDER = _(
    "The programs check webhook-signature, which every request carries. A receiver that verifies {sender}'s webhooks"
    " already can go on as it does, by the headers named after it: its key is the whole text of the secret, whsec_"
    " included."
)
# What a receiver needs that has no headers of another sender, by the kind of the secret.
KEYS: Mapping[str, str | Promise] = {
    signing.SHARED_PREFIX: _("The key is the signing secret, whsec_…, which was shown when it was made."),
    signing.PRIVATE_PREFIX: _(
        "The key is the public key, whpk_…, on the subscription's page. The Django program verifies with it as it"
        " stands; in the others, check what follows v1a, in webhook-signature with any Ed25519 library, over"
        " id.timestamp.body and with the 32 bytes behind whpk_."
    ),
}
MEANINGS: Mapping[str, str | Promise] = {
    "webhook-id": _("the event's id, the same on every attempt: act on each once"),
    "webhook-timestamp": _("this attempt's time, in Unix seconds"),
    "webhook-signature": _("one signature for each secret in force, with spaces between"),
    "webhook-topic": _("what happened, as the body's type says it"),
    "webhook-source": _("the order source, as in the body"),
    "webhook-attempt": _("the number of the attempt"),
}


def key_note(signature: str) -> str | Promise:
    """Which key a receiver verifies the requests of a signature profile with."""
    profile = signing.PROFILES[signature]
    return format_lazy(_OTHER_SENDER, sender=profile.sender) if profile.sender else KEYS[profile.secret_prefix]


def headers_of(subscription: Subscription) -> list[tuple[str, str | Promise]]:
    """The headers of its requests and what each holds; those of its own without their values."""
    message = signing.Message("", "", 0, b"")
    signed = signing.profile_headers(subscription.signature, message, [signing.generate_secret(subscription.signature)])
    of_profile = [(name, _("as that sender fills it")) for name in signed if name not in MEANINGS]
    return [
        *_of_format(subscription),
        *MEANINGS.items(),
        *of_profile,
        *((name, HIDDEN) for name in subscription.headers),
    ]


def _of_format(subscription: Subscription) -> list[tuple[str, str | Promise]]:
    """The headers that describe the body, with an example of what each holds."""
    try:
        outgoing = formats.OutgoingEvent(
            catalogue.entry("order.paid").example, "ord_01KAR58K00W5QZ4N3XJ7T2M9CE", "1001"
        )
        chosen = formats.get(subscription.format)
        found = [("content-type", chosen.content_type), *chosen.headers(outgoing).items()]
    except Exception:
        # A store's own format may need more than the example has; one that is unknown sends nothing.
        return [("content-type", _("as the format says"))]
    if chosen.asks_consent:
        found.append(("webhook-request-origin", subscription.request_origin))
    return [*found]


def snippets_for(subscription: Subscription) -> list[Snippet]:
    """The programs, with the subscription's path, reading its format. None for a chat program's format."""
    if subscription.format in WITHOUT_PROGRAMS:
        return []
    kind = KINDS.get(subscription.format, RAW)
    context = {
        "path": _path(subscription.url),
        "secret_variable": SECRET_VARIABLE,
        "kind": kind,
        "asks_consent": subscription.asks_consent,
        # An alarm is of no order, and a projection may make others of its members.
        "has_order": not subscription.operational and (not subscription.projection or subscription.format == "thin"),
    }
    return [
        Snippet(name, title, needs, render_to_string(f"orderhooks/receivers/{name}.txt", context))
        for name, title, needs in PROGRAMS
        if kind != RAW or name != OUR_KIT
    ]


def _path(url: str) -> str:
    try:
        path = urlsplit(transport.check_url(url)).path
    except transport.UrlRefusedError:
        path = ""
    return path if PLAIN_PATH.fullmatch(path) else EXAMPLE_PATH
