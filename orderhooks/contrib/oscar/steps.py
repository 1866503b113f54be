"""Oscar's steps as transactions: what a person does in one step makes one event of each topic, also in autocommit.

Without this, a change of status with its cascade is saved row by row, and a shipment of two lines looks like a part of
the order until its second row is saved.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from django.db import router, transaction
from oscar.core.exceptions import AppNotFoundError
from oscar.core.loading import get_class, get_model

from orderhooks import sources
from orderhooks.contrib.oscar.source import OscarOrders

__all__ = ["make_atomic", "oscar_sources"]


def make_atomic() -> None:
    """Have each step that writes several rows, and does nothing but write, run in a transaction. Called once.

    What takes a payment is left as it is: no request to a payment gateway is made inside a transaction of ours.
    """
    for owner, names in _steps():
        for name in names:
            step = getattr(owner, name, None)
            if step is not None and not getattr(step, "is_atomic_for_orderhooks", False):
                setattr(owner, name, _atomic(step))


def _steps() -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The classes, as the shop has forked them, with the methods that write several rows."""
    # The order, its lines, and the change of status.
    yield get_model("order", "Order"), ("set_status",)
    # The amount, and the transaction that explains it.
    yield get_model("payment", "Source"), ("allocate", "debit", "refund")
    for module, name, methods in STEPS:
        # A shop without pages leaves out the apps of the checkout and of the dashboard.
        with contextlib.suppress(AppNotFoundError):
            yield get_class(module, name), methods


STEPS = (
    # The event, and the quantities of its lines.
    ("order.processing", "EventHandler", ("create_shipping_event", "create_payment_event")),
    # The payment sources and events of a new order.
    ("checkout.mixins", "OrderPlacementMixin", ("save_payment_details",)),
    # The lines that an operator has selected.
    ("dashboard.orders.views", "OrderDetailView", ("change_line_statuses",)),
)


def _atomic(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def atomic_step(*args: Any, **options: Any) -> Any:
        if not _is_wished():
            return step(*args, **options)
        with transaction.atomic(using=router.db_for_write(get_model("order", "Order"))):
            return step(*args, **options)

    atomic_step.is_atomic_for_orderhooks = True  # type: ignore[attr-defined]
    return atomic_step


def oscar_sources() -> list[OscarOrders]:
    """The sources of Oscar's orders that are in use. None if the setting SOURCES is wrong, which a check reports."""
    try:
        return [source for source in sources.configured().values() if isinstance(source, OscarOrders)]
    except Exception:
        return []


def _is_wished() -> bool:
    """Whether the saves of Oscar's orders are to be transactions."""
    return any(source.atomic_saves for source in oscar_sources())
