"""The example of docs/how-to/find-what-is-missing.md, as a receiver runs it."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import payloads
from orderhooks.models import Event, Order
from tests.factories import make_order, make_subscription

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/how-to/find-what-is-missing.md"


def again(number: str) -> dict[tuple[str, str], Any]:
    """A new order with that number, as the receiver holds it."""
    order = make_order(number=number, lines=())
    event = Event.objects.filter(order_pk=order.pk).latest("sequence")
    Event.objects.update(published_at=timezone.now() - timedelta(minutes=1))
    return {("orderhooks", order.public_id): (event.payload or {})["order"]}


@pytest.mark.django_db(transaction=True)
def test_the_receiver_of_the_document_finds_what_it_lacks(admin_client: Any) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), found)

    make_subscription()
    for number in ("same", "lost", "stale", "deleted"):
        make_order(number=number)
    bodies = [json.loads(payloads.encode(payloads.envelope(event))) for event in Event.objects.order_by("sequence")]
    held = {("orderhooks", body["data"]["order"]["id"]): body["data"]["order"] for body in bodies}
    keys = {order["number"]: key for key, order in held.items()}
    del held[keys["lost"]]
    stale = Order.objects.get(number="stale")
    stale.note = "new"
    stale.save()
    Order.objects.get(number="deleted").delete()
    Event.objects.update(published_at=timezone.now() - timedelta(minutes=1))

    def read(url: str) -> Any:
        url = url if "://" in url else f"/api/{url.replace('page_size=200', 'page_size=1')}"
        return admin_client.get(url).json()

    assert found["missing"](read, held) == ["lost", "stale", "deleted"]
    del held[keys["deleted"]]
    # The number of a deleted order is used again.
    held |= again("deleted")
    assert found["missing"](read, held) == ["lost", "stale"]
