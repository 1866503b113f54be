"""Mentions: records that are not of an order, and may quote one: errors, and responses to repeated requests."""

import json
from collections.abc import Callable, Collection
from typing import Any

from django.db import models

from orderhooks import encryption
from orderhooks.encryption import Purpose, UndecryptableError
from orderhooks.models import Backfill, CaptureFailure, IdempotentRequest, Subscription
from orderhooks.models.erasures import ErasedOrder

__all__ = ["EraseOrder", "erase"]

# Takes the members of an order as the API shows them.
EraseOrder = Callable[[dict[str, Any]], dict[str, Any]]

# Shorter texts occur in sentences that quote nobody.
SHORTEST = 3
ERASED = "Erased, because it quoted an order whose personal data was erased."
# The texts that may quote an order.
TEXTS: tuple[tuple[type[models.Model], str], ...] = (
    (CaptureFailure, "error"),
    (Backfill, "first_error"),
    (Backfill, "error"),
    (Subscription, "last_failure"),
    (Subscription, "last_unsent"),
)


def erase(values: Collection[str], order: ErasedOrder, *, order_id: str = "", erase_order: EraseOrder) -> None:
    """Erase the texts and responses that quote one of the values, and the last error of the order's capture.

    `order_id`: the built-in order's, by which responses that hold the order are found, also with values that it had
    before; "" for others. `erase_order` erases the order in one.
    """
    CaptureFailure.objects.filter(source=order.source, order_pk=order.order_pk).update(error=ERASED)
    quotable = [value for value in values if len(value) >= SHORTEST]
    for stored in IdempotentRequest.objects.exclude(response="").only("response").iterator(100):
        _erase_response(stored, values, quotable, order_id, erase_order)
    if not quotable:
        return
    for model, name in TEXTS:
        rows: Any = model._default_manager.exclude(**{name: ""}).values_list("pk", name)
        keys = [pk for pk, text in rows if _quotes(text, quotable)]
        model._default_manager.filter(pk__in=keys).update(**{name: ERASED})


def _quotes(text: str, values: Collection[str]) -> bool:
    lower = text.casefold()
    return any(value.casefold() in lower for value in values)


def _erase_response(
    stored: IdempotentRequest,
    values: Collection[str],
    quotable: Collection[str],
    order_id: str,
    erase_order: EraseOrder,
) -> None:
    try:
        data = json.loads(encryption.decrypt(stored.response, Purpose.RESPONSE) or "null")
    except UndecryptableError:
        return  # nobody can read it
    is_order = bool(order_id) and isinstance(data, dict) and data.get("public_id") == order_id
    erased = _without(erase_order(data) if is_order else data, values, quotable)
    if erased != data:
        response = encryption.encrypt(json.dumps(erased), Purpose.RESPONSE)
        IdempotentRequest.objects.filter(pk=stored.pk).update(response=response)


def _without(data: Any, values: Collection[str], quotable: Collection[str]) -> Any:
    """JSON data with "" for each text that is one of the values, or quotes one of those that are `quotable`."""
    if isinstance(data, dict):
        return {key: _without(one, values, quotable) for key, one in data.items()}
    if isinstance(data, list):
        return [_without(one, values, quotable) for one in data]
    return "" if isinstance(data, str) and (data in values or _quotes(data, quotable)) else data
