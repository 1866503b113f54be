"""An order with a history of personal data, its erasure, and a search for what is left in any table."""

import json
import time
import uuid
from typing import Any

from django.apps import apps
from django.db import models

from orderhooks import encryption, operations, pumping
from orderhooks.encryption import Purpose
from orderhooks.models import Change, Erasure, Event, IdempotentRequest, Order
from tests.factories import make_order, make_refund

ADA = "ada.lovelace@example.com"
# Each is somewhere in what `ada_ordered` makes, and nowhere else.
VALUES = [ADA, "Lovelace", "+4420794600", "Ockham", "Surrey7", "leave it at the smithy", "moved to Turin", "she is ill"]


def ada_ordered(**fields: Any) -> Order:
    """An order of Ada's that has a history."""
    order = make_order(
        **{
            "customer_name": "Ada Lovelace",
            "customer_email": ADA,
            "customer_phone": "+4420794600",
            "billing_address": {"street": "Ockham Park", "lines": ["Surrey7", 7]},
            "shipping_address": {"street": "Ockham Park"},
            "note": "leave it at the smithy",
            **fields,
        }
    )
    order.status, order.cancel_reason = "cancelled", "moved to Turin"
    order.save()
    make_refund(order, reason="she is ill")
    return order


def make_change(**fields: Any) -> Change:
    """A captured change that no process has coalesced."""
    return Change.objects.create(
        **{"transaction_id": uuid.uuid4(), "source": "orderhooks", "kind": "updated", **fields}
    )


def erase(**request: str) -> Erasure:
    erasure = operations.erase(**request)
    for _step in operations.carry_out(erasure):
        pass
    return erasure


def everything_stored() -> str:
    """All texts of all tables of orderhooks, decrypted where they are encrypted responses."""
    found = [
        f"{model.__name__} {json.dumps(row, default=str, ensure_ascii=False)}"
        for model in apps.get_app_config("orderhooks").get_models()
        for row in models.QuerySet(model).values()
    ]
    found += [encryption.decrypt(one.response, Purpose.RESPONSE) for one in IdempotentRequest.objects.all()]
    return "\n".join(found)


def order_in(event: Event) -> Any:
    assert event.payload is not None
    return event.payload["order"]


def left_of(values: list[str]) -> list[str]:
    lines = everything_stored().splitlines()
    return [line for line in lines if any(value.casefold() in line.casefold() for value in values)]


def pump() -> None:
    turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: None)
    turn.run(until=time.monotonic() + 10)
