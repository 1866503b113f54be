"""How a project says how it sends mail: by MAILERS (Django 6.1 and later) or by EMAIL_BACKEND and its kin."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import django
from django.test import override_settings

HAS_MAILERS = django.VERSION >= (6, 1)
LOCAL_MEMORY = "django.core.mail.backends.locmem.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


@contextlib.contextmanager
def email_backend(path: str, **others: Any) -> Iterator[None]:
    """A project that has EMAIL_BACKEND, whatever the suite has. `others` are more settings of that kind."""
    with warnings.catch_warnings(), override_settings():
        # Django 6.1 warns that these settings are deprecated: once where they are set, not again later.
        warnings.filterwarnings("ignore", message=".*setting is deprecated")
        from django.conf import settings

        if hasattr(settings, "MAILERS"):
            del settings.MAILERS
        with override_settings(EMAIL_BACKEND=path, **others):
            yield


def no_mail_server() -> contextlib.AbstractContextManager[object]:
    """A project whose mail server does not respond."""
    if not HAS_MAILERS:
        return email_backend(SMTP, EMAIL_HOST="127.0.0.1", EMAIL_PORT=9)
    mailers = {"default": {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": 9}}}
    return override_settings(MAILERS=mailers)
