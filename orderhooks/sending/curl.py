"""A delivery's request as a shell script, which signs it when it runs: with `openssl`, and sent with `curl`.

The admin shows it. It holds no secret: the signing secret, the subscription's own headers and its login are taken from
environment variables.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from orderhooks import shaping, transport
from orderhooks.db.sealed_logins import BASIC, OAUTH2
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.sending.preparing import plain_headers
from orderhooks.signing import PRIVATE_PREFIX, PROFILES, SHARED_PREFIX

__all__ = ["curl_script"]

# Note [Shell functions]
# The words of the shell for signature headers, here and in `signing.profiles`: `content` is what Standard Webhooks
# signs, `raw_key` the bytes behind the prefix in hex, `text_key` the secret's own characters in hex; `hmac` and `hex`
# read their input.
STANDARD = {
    SHARED_PREFIX: '"webhook-signature: v1,$(content | hmac "$raw_key" | openssl base64 -A)"',
    PRIVATE_PREFIX: '"webhook-signature: v1a,$(ed25519 | openssl base64 -A)"',
}

SCRIPT = r"""#!/bin/sh
# Sends {event} once more, signed as it runs. Put this into a file and run it:
#   {variables} sh the-file
set -eu
{checks}
id={event}
topic={topic}
timestamp=$(date +%s)
body() {{
    {body}
}}
content() {{ printf %s.%s. "$id" "$timestamp"; body; }}
hex() {{ od -An -v -tx1 | tr -d ' \n'; }}
{signing}
body | curl --request POST --silent --show-error --include --globoff --max-time 15 --data-binary @- \
    {headers} \
    {login}--url {url}
"""
HMAC = r"""hmac() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$1" -binary; }
raw_key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | hex)
text_key=$(printf %s "$WEBHOOK_SECRET" | hex)"""
# The key as PKCS #8 (RFC 8410, 7): the bytes that are the same for all, then the seed.
KEY = r"""folder=$(umask 077 && mktemp -d)
trap 'rm -rf "$folder"' EXIT
ed25519() {
    { printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'
      printf %s "${WEBHOOK_SECRET#whsk_}" | openssl base64 -d -A | head -c 32; } > "$folder/key"
    content > "$folder/content"
    openssl pkeyutl -sign -inkey "$folder/key" -keyform DER -rawin -in "$folder/content"
}"""
SIGNING = {SHARED_PREFIX: HMAC, PRIVATE_PREFIX: KEY}


def curl_script(delivery: Delivery, attempt: Attempt | None = None) -> str:
    """The script. Its body is the one that was sent, byte for byte.

    With `attempt`: to the URL of that attempt, under its number. Without it, or if its URL was not recorded: to the URL
    of the next attempt. Raises shaping.ShapingError.
    """
    event, subscription = delivery.event, delivery.subscription
    shaped = shaping.shape(event, subscription, changes=delivery.merged_changes)
    profile = PROFILES[subscription.signature]
    prefix = profile.secret_prefix
    variables = dict(_variables(subscription.headers))
    plain = {
        **plain_headers(delivery, shaped),
        "webhook-attempt": str(attempt.number if attempt else max(1, delivery.attempts_made)),
    }
    headers = [
        *(quote(f"{name}: {value}") for name, value in plain.items()),
        '"webhook-timestamp: $timestamp"',
        STANDARD[prefix],
        *profile.curl_headers,
        *(f'{quote(name + ": ")}"${variable}"' for variable, name in variables.items()),
        quote("expect:"),  # which curl would add to a large body
    ]
    login = _login(subscription)
    checks = [
        f'case "${{WEBHOOK_SECRET:-}}" in {prefix}*) ;; *)'
        f' echo "Set WEBHOOK_SECRET to the signing secret, {prefix}..." >&2; exit 64;; esac',
        *(
            f'[ -n "${{{variable}:-}}" ] || {{ printf "%s\\n" {quote(f"Set {variable} to the header {name}.")} >&2;'
            " exit 64; }"
            for variable, name in variables.items()
        ),
        *(
            f'[ -n "${{{variable}:-}}" ] || {{ printf "%s\\n" {quote(f"Set {variable} to {what}.")} >&2; exit 64; }}'
            for variable, what in login.variables.items()
        ),
    ]
    return SCRIPT.format(
        event=quote(event.public_id),
        topic=quote(event.topic),
        variables=" ".join(f"{variable}=…" for variable in ("WEBHOOK_SECRET", *variables, *login.variables)),
        checks="\n".join(checks),
        body=_print(shaped.body),
        signing=SIGNING[prefix],
        headers=" \\\n    ".join(f"--header {header}" for header in headers),
        login="".join(f"{option} \\\n    " for option in login.options),
        url=quote((attempt and attempt.url) or transport.called_url(subscription.url)),
    )


def _print(body: bytes) -> str:
    """The command that prints the body. What is not text, which a store's own format may make, is there as base64."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    if text and "\x00" not in text:
        return f"printf %s {quote(text)}"
    return f"printf %s {quote(base64.b64encode(body).decode())} | openssl base64 -d -A"


@dataclass(frozen=True, slots=True)
class _Login:
    """Options of curl, and the variables that they need, each with what it has to be."""

    options: Sequence[str]
    variables: Mapping[str, str]


def _login(subscription: Subscription) -> _Login:
    options, variables = [], {}
    if subscription.login_type == BASIC:
        options.append('--user "$LOGIN"')
        variables["LOGIN"] = "the user name and the password, with a colon between them"
    elif subscription.login_type == OAUTH2:
        options.append('--header "authorization: Bearer $ACCESS_TOKEN"')
        variables["ACCESS_TOKEN"] = "an access token of the authorization server"  # noqa: S105
    if subscription.client_certificate:
        options.append('--cert "$CLIENT_CERTIFICATE" --key "$CLIENT_KEY"')
        variables["CLIENT_CERTIFICATE"] = "the file of the client certificate, in PEM"
        variables["CLIENT_KEY"] = "the file of its private key, in PEM"
    return _Login(options, variables)


def _variables(headers: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """A variable for each header; header names may hold what no variable may, and differ in nothing else."""
    taken: set[str] = set()
    for name in headers:
        variable = stem = "HEADER_" + re.sub("[^A-Z0-9]", "_", name.upper())
        number = 1
        while variable in taken:
            number += 1
            variable = f"{stem}_{number}"
        taken.add(variable)
        yield variable, name
