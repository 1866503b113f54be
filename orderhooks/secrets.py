"""Text that is encrypted before it reaches the database: signing secrets. Used by `models.subscriptions`."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes

from orderhooks import conf

__all__ = ["UndecryptableError", "decrypt", "encrypt"]


class UndecryptableError(Exception):
    """A stored secret that none of the configured keys opens."""


def encrypt(text: str) -> str:
    """The text under the newest key: a Fernet token, safe to store."""
    return _keyring().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The text behind a token. Raises UndecryptableError."""
    try:
        return _keyring().decrypt(token.encode()).decode()
    except InvalidToken:
        raise UndecryptableError(
            "A stored secret can't be read: the key it was encrypted with is missing. Put the former key back "
            'into ORDERHOOKS["ENCRYPTION_KEYS"] (or, if that was never set, restore the former SECRET_KEY).'
        ) from None


def _keyring() -> MultiFernet:
    texts: tuple[str | bytes, ...] = conf.current().encryption_keys or (
        settings.SECRET_KEY,
        *settings.SECRET_KEY_FALLBACKS,
    )
    return MultiFernet([Fernet(_derive(force_bytes(text))) for text in texts])


def _derive(text: bytes) -> bytes:
    # A purpose of its own, so that the key is none that Django or another package derives from SECRET_KEY.
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"orderhooks secrets at rest")
    return base64.urlsafe_b64encode(hkdf.derive(text))
