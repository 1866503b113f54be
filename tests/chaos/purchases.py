"""What the store does where it reads from a replica: functions that `shop` serves as its own."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from django.urls import reverse

from orderhooks import publishing
from tests.chaos.models import Customer, Purchase, PurchaseItem, Slip

SESSION_SECONDS = 30.0
SKUS = ("TEA-1", "POT-1")
client = Client()


def trade_by_replica(count: int, seed: int, each_seconds: float) -> dict[str, list[str]]:
    """Save this many purchases. Beside it change, publish and delete some that the replica has, maybe as they were.

    Which ones were committed and not deleted, and which were rolled back, by key.
    """
    dice = random.Random(seed)
    done: dict[str, list[str]] = {"committed": [], "rolled_back": [], "refused": []}
    deleted: set[str] = set()
    acts: Sequence[Callable[[Purchase, str], object]] = (_pay, _write, _rename, _publish, _delete)
    for number in range(count):
        with transaction.atomic():
            purchase = _place(number)
            if undone := dice.random() < 0.2:
                transaction.set_rollback(True)
        done["rolled_back" if undone else "committed"].append(purchase.pk)
        for act in dice.sample(acts, 2):
            # From the replica.
            known = [one for one in Purchase.objects.order_by("pk") if one.pk not in deleted]
            if known:
                chosen = dice.choice(known)
                if act is _delete:
                    deleted.add(chosen.pk)
                act(chosen, f"change {number}")
        time.sleep(each_seconds * dice.uniform(0.5, 1.5))
    done["committed"] = [key for key in done["committed"] if key not in deleted]
    return done


def _place(number: int) -> Purchase:
    purchase = Purchase.objects.create(customer=Customer.objects.create(name=f"Customer {number}"))
    for sku in SKUS:
        PurchaseItem.objects.create(purchase=purchase, sku=sku)
    Slip.objects.create(purchase=purchase, number=f"S-{number}")
    return purchase


def _pay(purchase: Purchase, _text: str) -> None:
    purchase.payment_status = "paid"
    purchase.save(update_fields=["payment_status"])


def _write(purchase: Purchase, text: str) -> None:
    purchase.note = text
    purchase.save(update_fields=["note"])


def _rename(purchase: Purchase, text: str) -> None:
    purchase.customer.name = text
    purchase.customer.save(update_fields=["name"])


def _publish(purchase: Purchase, _text: str) -> None:
    publishing.publish("order.closed", purchase)


def _delete(purchase: Purchase, _text: str) -> None:
    purchase.delete()


def purchases() -> dict[str, dict[str, Any]]:
    """All that there are, as the primary has them: what their last event should show."""
    found = Purchase.objects.using("default").select_related("customer", "slip")
    return {
        one.pk: {
            "payment_status": one.payment_status,
            "note": one.note,
            "skus": sorted(one.items.using("default").values_list("sku", flat=True)),
            "customer": one.customer.name,
            "slip": one.slip.number,
        }
        for one in found
    }


def sign_in() -> None:
    """As an operator, whose user and session have reached the replica when it returns."""
    user = get_user_model().objects.create_superuser("ada", password="a password of tests")
    client.force_login(user)
    end = time.monotonic() + SESSION_SECONDS
    while not Session.objects.exists():
        if time.monotonic() > end:
            raise TimeoutError("The replica does not get the session.")
        time.sleep(0.2)


def look_at_what_was_written() -> None:
    """By the API and by the admin, at once: no replica has it yet."""
    made = _call("post", "order-list", 201, data={"customer_email": "ada@example.com"})
    key = made["public_id"]
    _call("patch", "order-detail", 200, key, data={"note": "Ring twice"})
    assert _call("get", "order-detail", 200, key)["note"] == "Ring twice"
    assert key in [one["public_id"] for one in _call("get", "order-list", 200)["results"]]
    events = _call("get", "event-list", 200, query=f"?order_number={made['number']}")["results"]
    # Others are about an order that had the number before.
    own = {one["topic"] for one in events if one["payload"]["order"]["id"] == key}
    assert own == {"order.created", "order.updated"}, events
    for name in ("order", "event"):
        page = client.get(reverse(f"admin:orderhooks_{name}_changelist"))
        assert (page.status_code, made["number"] in page.content.decode()) == (200, True), name
    _call("delete", "order-detail", 204, key)
    _call("get", "order-detail", 404, key)


def _call(method: str, name: str, status: int, *arguments: str, query: str = "", data: Any = None) -> Any:
    options = {} if data is None else {"data": data, "content_type": "application/json"}
    answer = getattr(client, method)(reverse(f"orderhooks:{name}", args=arguments) + query, **options)
    assert answer.status_code == status, (method, name, answer.status_code, answer.content[:500])
    return answer.json() if answer.content else None
