"""For the tests of projects that use orderhooks: signed requests for receivers; for stores, events and deliveries.

What a receiver's tests need is there without a database, settings, or orderhooks in INSTALLED_APPS.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orderhooks.testing.signed import SignedRequest, signed_request
    from orderhooks.testing.stores import Captured, acapture, capture, deliver_now

__all__ = ["Captured", "SignedRequest", "acapture", "capture", "deliver_now", "signed_request"]

# Imported when it is used: the models of `stores` need a project.
HOMES = {"SignedRequest": "signed", "signed_request": "signed"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES.get(name, 'stores')}"), name)
