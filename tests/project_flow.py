"""A short day in a project, whatever its settings: through the API, the admin and a worker, to a receiver that checks.

Used by the tests of settings and of databases, in this process or in one of its own.
"""

import json
import re
from datetime import UTC, datetime, timedelta

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from orderhooks import tasks
from orderhooks.models import Delivery, Event, Order, Subscription
from orderhooks.receiver import verify
from tests.receivers import Received, RecordingReceiver

LINE = {"sku": "TEA-1", "name": "Green tea", "quantity": 1200, "unit_price": "9.95"}


def live_through(receiver: RecordingReceiver) -> None:
    """Raises AssertionError where something is not as in any other project."""
    before = len(receiver.received)
    client = signed_in()
    secret = _subscribe(client, receiver.url)
    order = _call(client, "post", "order-list", 201, data={"customer_email": "ada@example.com", "lines": [LINE]})
    tasks.pump()
    _call(client, "patch", "order-detail", 200, order["public_id"], data={"payment_status": "paid"})
    tasks.pump()

    received = receiver.received[before:]
    assert [one.topic for one in received] == ["order.created", "order.updated", "order.paid"], received
    for one in received:
        _is_right(one, secret, order)
    _look_around(client, order)
    _send_again(client, receiver)
    _remove(client)


def signed_in() -> Client:
    """A superuser of whatever kind of user the project has, signed in."""
    users = get_user_model()
    name = {users.USERNAME_FIELD: f"ada{users.objects.count()}@example.com"}
    user = users(**name, is_active=True, is_staff=True, is_superuser=True)
    user.set_password("a password of tests")
    user.save()
    client = Client()
    client.force_login(user)
    return client


def _subscribe(client: Client, url: str) -> str:
    # Ordered, which needs the most of the database.
    data = {"name": "Warehouse", "url": url, "topics": ["order.*"], "ordered": True}
    made = _call(client, "post", "subscription-list", 201, data=data)
    _call(client, "patch", "subscription-detail", 200, made["public_id"], data={"contact_email": "ops@example.com"})
    return made["secret"]


def _is_right(one: Received, secret: str, order: dict) -> None:
    event = verify(one.body, dict(one.headers), secret)
    assert event.data["order"]["number"] == order["number"]
    assert event.data["order"]["total"] == "11940.00"
    assert event.data["order"]["lines"][0]["quantity"] == 1200
    for text in (one.event["timestamp"], event.data["order"]["placed_at"]):
        assert abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(minutes=5), text
        assert text.endswith("Z")


def _look_around(client: Client, order: dict) -> None:
    events = _call(client, "get", "event-list", 200)["results"]
    assert {one["order_number"] for one in events} == {order["number"]}
    assert len(_call(client, "get", "delivery-list", 200)["results"]) == len(events)
    assert _call(client, "get", "order-detail", 200, order["public_id"])["total"] == "11940.00"
    for path in ("subscription", "order", "event", "delivery", "dashboard"):
        _page(client, f"orderhooks_{path}_changelist")
    for record, row in (
        ("order", Order.objects.get(number=order["number"])),
        ("subscription", Subscription.objects.get(name="Warehouse")),
        ("delivery", Delivery.objects.first()),
        ("event", Event.objects.first()),
    ):
        assert row is not None, record
        _page(client, f"orderhooks_{record}_change", row.pk)
    call_command("orderhooks_status", stdout=_Nowhere())


def _send_again(client: Client, receiver: RecordingReceiver) -> None:
    count = len(receiver.received)
    first = Delivery.objects.earliest("pk")
    _call(client, "post", "delivery-redeliver", 202, first.public_id, data={})
    tasks.pump()
    assert len(receiver.received) == count + 1
    # By an operator: an endpoint is added in the admin, whose form holds numbers, and the secret is shown once.
    form = {"name": "Added", "url": receiver.url, "topics": "order.paid", "headers": ""}
    form |= {"format": "standard", "signature": "standard"}
    form |= {"timeout_seconds": "25", "max_per_second": "1500", "objective_share": "99.5", "_save": "Save"}
    answer = client.post(reverse("admin:orderhooks_subscription_add"), form, follow=True)
    added = Subscription.objects.filter(name="Added").first()
    assert added is not None, re.findall(r'class="errorlist.*?</ul>', answer.content.decode(), re.DOTALL)
    assert (added.timeout_seconds, added.max_per_second) == (25, 1500)
    assert added.secrets.get().reveal() in answer.content.decode()
    page = _page(client, "orderhooks_subscription_change", added.pk)
    shown = re.findall(r'name="(timeout_seconds|max_per_second)" value="([^"]*)"', page)
    # What the form shows is what it takes: saved again, nothing is altered.
    client.post(reverse("admin:orderhooks_subscription_change", args=[added.pk]), form | dict(shown))
    added.refresh_from_db()
    assert (added.timeout_seconds, added.max_per_second) == (25, 1500)


def _remove(client: Client) -> None:
    for subscription in Subscription.objects.all():
        _call(client, "delete", "subscription-detail", 204, subscription.public_id)
    for order in Order.objects.all():
        _call(client, "delete", "order-detail", 204, order.public_id)
    Event.objects.all().delete()


def _call(client: Client, method: str, name: str, status: int, *arguments: str, data: object = None) -> dict:
    url = reverse(f"orderhooks:{name}", args=arguments)
    options = {} if data is None else {"data": json.dumps(data), "content_type": "application/json"}
    answer = getattr(client, method)(url, **options)
    assert answer.status_code == status, (method, url, answer.status_code, answer.content[:500])
    return json.loads(answer.content) if answer.content else {}


def _page(client: Client, name: str, *arguments: object) -> str:
    answer = client.get(reverse(f"admin:{name}", args=arguments))
    assert answer.status_code == 200, (name, answer.status_code)
    return answer.content.decode()


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def isatty(self) -> bool:
        return False
