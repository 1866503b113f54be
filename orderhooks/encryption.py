"""Encryption of texts that leave the process: signing secrets, header values, logins, stored responses, cursors; and
payloads, if the setting ENCRYPT_PAYLOADS is on.

Each purpose has its own keys: a text that was encrypted for one purpose can't be decrypted for another.
"""

import base64
import functools
import hashlib
from dataclasses import dataclass
from enum import Enum

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf

__all__ = [
    "HIDDEN",
    "Purpose",
    "Sealed",
    "UndecryptableError",
    "decrypt",
    "encrypt",
    "newest_key_id",
    "reencrypt",
]

# Shown in place of a secret.
HIDDEN = "(hidden)"


class Purpose(Enum):
    """What a text is encrypted for. Keys are derived from the value: changing one makes stored texts unreadable."""

    SIGNING_SECRET = "signing secret"  # noqa: S105
    HEADER = "header of a subscription"
    LOGIN = "login of a subscription"
    ACCESS_TOKEN = "access token of a subscription"  # noqa: S105
    RESPONSE = "response to a repeated request"
    CURSOR = "cursor of a list"
    RECORD = "record of an order"


class UndecryptableError(Exception):
    """None of the configured keys decrypts a stored text. The message says the remedy."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted value of a subscription. `token` is safe to store; `repr` shows `(hidden)`."""

    token: str
    purpose: Purpose = Purpose.HEADER

    @classmethod
    @sensitive_variables()
    def of(cls, text: str, purpose: Purpose = Purpose.HEADER) -> "Sealed":
        """Encrypt a value."""
        return cls(encrypt(text, purpose), purpose)

    def reveal(self) -> str:
        """The value in the clear. Raises UndecryptableError."""
        return decrypt(self.token, self.purpose)

    def reencrypted(self) -> "Sealed":
        """The same value, encrypted with the newest key. Raises UndecryptableError."""
        return Sealed(reencrypt(self.token, self.purpose), self.purpose)

    def __repr__(self) -> str:
        return HIDDEN


@sensitive_variables()
def encrypt(text: str, purpose: Purpose) -> str:
    """Encrypt the text with the purpose's newest key. Returns a Fernet token, which is safe to store."""
    return _keyring_of(_key_texts(), purpose).encrypt(text.encode()).decode()


@sensitive_variables()
def reencrypt(token: str, purpose: Purpose) -> str:
    """Return the token if the newest key decrypts it, and otherwise a token of the same text by that key.

    Raises:
        UndecryptableError: no configured key decrypts it.
    """
    try:
        Fernet(_derive(force_bytes(_key_texts()[0]), purpose)).decrypt(token.encode())
    except InvalidToken:
        return encrypt(decrypt(token, purpose), purpose)
    return token


@sensitive_variables()
def decrypt(token: str, purpose: Purpose) -> str:
    """Decrypt a token that was made for the same purpose.

    Raises:
        UndecryptableError: no configured key decrypts it, or it was made for another purpose.
    """
    # A record may be large: it is not kept in memory.
    opened = _decrypt.__wrapped__ if purpose is Purpose.RECORD else _decrypt
    try:
        return opened(token, _key_texts(), purpose)
    except InvalidToken:
        what = "record" if purpose is Purpose.RECORD else "secret"
        raise UndecryptableError(
            f"A stored {what} can't be decrypted: its key is missing. Put the former key back into "
            'ORDERHOOKS["ENCRYPTION_KEYS"]. If that is new, add SECRET_KEY as its last; if it is not set, restore the '
            "former SECRET_KEY."
        ) from None


def newest_key_id(purpose: Purpose) -> str:
    """Eight hex digits that stand for the purpose's newest key, and give nothing of it away."""
    return hashlib.sha256(b"id:" + _derive(force_bytes(_key_texts()[0]), purpose)).hexdigest()[:8]


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
    # The name of the package keeps the key apart from those that others derive from SECRET_KEY (RFC 5869, 3.2).
    info = f"orderhooks: {purpose.value}".encode()
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
    return base64.urlsafe_b64encode(hkdf.derive(text))
