"""Text that is encrypted before it reaches the database: signing secrets and values of headers. `models` uses it."""

import base64
import functools
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf

__all__ = ["HIDDEN", "Sealed", "UndecryptableError", "decrypt", "encrypt", "reencrypt"]

# What stands in a secret's place wherever it may be read.
HIDDEN = "(hidden)"


class UndecryptableError(Exception):
    """A stored secret that none of the configured keys opens."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored; printed, it shows nothing. `token` is safe to store."""

    token: str

    @classmethod
    @sensitive_variables()
    def of(cls, text: str) -> "Sealed":
        return cls(encrypt(text))

    def reveal(self) -> str:
        """The secret itself. Raises UndecryptableError."""
        return decrypt(self.token)

    def __repr__(self) -> str:
        return HIDDEN


@sensitive_variables()
def encrypt(text: str) -> str:
    """The text under the newest key: a Fernet token, safe to store."""
    return _keyring().encrypt(text.encode()).decode()


@sensitive_variables()
def reencrypt(token: str) -> str:
    """The token as it is if the newest key opens it, else the same text under that key. Raises UndecryptableError."""
    try:
        Fernet(_derive(force_bytes(_key_texts()[0]))).decrypt(token.encode())
    except InvalidToken:
        return encrypt(decrypt(token))
    return token


@sensitive_variables()
def decrypt(token: str) -> str:
    """The text behind a token. Raises UndecryptableError."""
    try:
        return _decrypt(token, _key_texts())
    except InvalidToken:
        raise UndecryptableError(
            "A stored secret can't be read: the key it was encrypted with is missing. Put the former key back "
            'into ORDERHOOKS["ENCRYPTION_KEYS"] (or, if that was never set, restore the former SECRET_KEY).'
        ) from None


@functools.lru_cache(maxsize=1024)
@sensitive_variables()
def _decrypt(token: str, texts: tuple[str | bytes, ...]) -> str:
    return _keyring_of(texts).decrypt(token.encode()).decode()


def _key_texts() -> tuple[str | bytes, ...]:
    return conf.current().encryption_keys or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


def _keyring() -> MultiFernet:
    return _keyring_of(_key_texts())


@functools.lru_cache(maxsize=8)
def _keyring_of(texts: tuple[str | bytes, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(force_bytes(text))) for text in texts])


@functools.lru_cache(maxsize=32)
def _derive(text: bytes) -> bytes:
    # A purpose of its own, so that the key is none that Django or another package derives from SECRET_KEY.
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"orderhooks secrets at rest")
    return base64.urlsafe_b64encode(hkdf.derive(text))
