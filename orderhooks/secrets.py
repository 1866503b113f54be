"""Text that is encrypted before it leaves the process: signing secrets, values of headers, kept answers, cursors.

Each purpose has keys of its own: a text that was encrypted for one can't be opened for another.
"""

import base64
import functools
from dataclasses import dataclass
from enum import Enum

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf

__all__ = ["HIDDEN", "Purpose", "Sealed", "UndecryptableError", "decrypt", "encrypt", "reencrypt"]

# What stands in a secret's place wherever it may be read.
HIDDEN = "(hidden)"


class Purpose(Enum):
    """What a text is encrypted for. The value goes into the derivation of its keys: change none."""

    SIGNING_SECRET = "signing secret"
    HEADER = "header of a subscription"
    ANSWER = "answer to a repeated request"
    CURSOR = "cursor of a list"


class UndecryptableError(Exception):
    """A stored secret that none of the configured keys opens."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A header's value as it is stored; printed, it shows nothing. `token` is safe to store."""

    token: str

    @classmethod
    @sensitive_variables()
    def of(cls, text: str) -> "Sealed":
        return cls(encrypt(text, Purpose.HEADER))

    def reveal(self) -> str:
        """The secret itself. Raises UndecryptableError."""
        return decrypt(self.token, Purpose.HEADER)

    def __repr__(self) -> str:
        return HIDDEN


@sensitive_variables()
def encrypt(text: str, purpose: Purpose) -> str:
    """The text under the purpose's newest key: a Fernet token, safe to store."""
    return _keyring_of(_key_texts(), purpose).encrypt(text.encode()).decode()


@sensitive_variables()
def reencrypt(token: str, purpose: Purpose) -> str:
    """The token as it is if the newest key opens it, else the same text under that key. Raises UndecryptableError."""
    try:
        Fernet(_derive(force_bytes(_key_texts()[0]), purpose)).decrypt(token.encode())
    except InvalidToken:
        return encrypt(decrypt(token, purpose), purpose)
    return token


@sensitive_variables()
def decrypt(token: str, purpose: Purpose) -> str:
    """The text behind a token that was made for the same purpose. Raises UndecryptableError."""
    try:
        return _decrypt(token, _key_texts(), purpose)
    except InvalidToken:
        raise UndecryptableError(
            "A stored secret can't be read: the key it was encrypted with is missing. Put the former key back "
            'into ORDERHOOKS["ENCRYPTION_KEYS"] (or, if that was never set, restore the former SECRET_KEY).'
        ) from None


@functools.lru_cache(maxsize=1024)
@sensitive_variables()
def _decrypt(token: str, texts: tuple[str | bytes, ...], purpose: Purpose) -> str:
    return _keyring_of(texts, purpose).decrypt(token.encode()).decode()


def _key_texts() -> tuple[str | bytes, ...]:
    return conf.current().encryption_keys or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@functools.lru_cache(maxsize=8 * len(Purpose))
def _keyring_of(texts: tuple[str | bytes, ...], purpose: Purpose) -> MultiFernet:
    return MultiFernet([Fernet(_derive(force_bytes(text), purpose)) for text in texts])


@functools.lru_cache(maxsize=32 * len(Purpose))
def _derive(text: bytes, purpose: Purpose) -> bytes:
    # Named, so that the key is none that Django or another package derives from SECRET_KEY (RFC 5869, 3.2).
    info = f"orderhooks: {purpose.value}".encode()
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
    return base64.urlsafe_b64encode(hkdf.derive(text))
