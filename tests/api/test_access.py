"""Who may call what: each endpoint and method, for each kind of caller."""

from typing import Any

import pytest
from django.urls import URLPattern
from rest_framework.test import APIClient

from orderhooks.api.urls import urlpatterns
from orderhooks.models import Delivery, Subscription
from tests.api.calls import EVERYTHING, patch, post
from tests.factories import (
    make_backfill,
    make_consumer,
    make_delivery,
    make_failed_event,
    make_fulfillment,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db

ENDPOINT = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["*"], "store": "berlin"}
SINCE = {"since": "2026-01-01T00:00:00Z"}
ALL = {"owner": 200, "other": 200, "manager": 200}
# The owner sees it; the other does not, as if it were not there.
OWNED = {"owner": 200, "other": 404, "manager": 200}


def owned(status: int) -> dict[str, int]:
    return {"owner": status, "other": 404, "manager": status}


# Method, path, the permissions that it takes, the body, and the status for each who has them.
TABLE: list[tuple[str, str, list[str], Any, dict[str, int]]] = [
    ("get", "orders/", ["view_order"], None, ALL),
    ("post", "orders/", ["add_order"], {"store": "berlin"}, {"owner": 201, "other": 422, "manager": 201}),
    ("get", "orders/{order}/", ["view_order"], None, OWNED),
    ("put", "orders/{order}/", ["change_order"], {}, OWNED),
    ("patch", "orders/{order}/", ["change_order"], {}, OWNED),
    ("delete", "orders/{order}/", ["delete_order"], None, owned(204)),
    ("get", "orders/{order}/webhooks/", ["view_order", "view_delivery"], None, OWNED),
    ("get", "orders/orderhooks/1001/webhooks/", ["view_event", "view_delivery"], None, OWNED),
    ("get", "orders/{order}/fulfillments/", ["view_order"], None, OWNED),
    ("post", "orders/{order}/fulfillments/", ["view_order", "add_fulfillment"], {}, owned(201)),
    ("patch", "orders/{order}/fulfillments/{fulfillment}/", ["view_order", "change_fulfillment"], {}, OWNED),
    ("get", "orders/{order}/payments/", ["view_order"], None, OWNED),
    ("post", "orders/{order}/payments/", ["view_order", "add_payment"], {"amount": "1"}, owned(201)),
    ("get", "orders/{order}/refunds/", ["view_order"], None, OWNED),
    ("post", "orders/{order}/refunds/", ["view_order", "add_refund"], {"amount": "1"}, owned(201)),
    ("get", "orders/digests/", ["view_event", "view_payload"], None, ALL),
    ("get", "events/", ["view_event"], None, ALL),
    ("get", "events/?after=0", ["view_event"], None, ALL),
    ("get", "events/?consumer=erp", ["view_event"], None, ALL),
    ("post", "events/acknowledge/", ["view_event"], {"consumer": "erp", "after": 0}, ALL),
    ("get", "events/{event}/", ["view_event"], None, OWNED),
    ("post", "events/{failed_event}/republish/", ["redeliver_delivery", "view_event"], {}, owned(409)),
    ("get", "consumers/", ["view_event"], None, ALL),
    ("get", "consumers/{consumer}/", ["view_event"], None, OWNED),
    ("delete", "consumers/{consumer}/", ["view_event"], None, owned(204)),
    ("get", "topics/", [], None, ALL),
    ("get", "topics/order.paid/", [], None, ALL),
    ("get", "topics/order.paid/schema/", [], None, ALL),
    ("get", "subscriptions/", ["view_subscription"], None, ALL),
    ("post", "subscriptions/", ["add_subscription"], ENDPOINT, {"owner": 201, "other": 422, "manager": 201}),
    (
        "post",
        "subscriptions/try/",
        ["view_subscription", "view_event", "view_payload"],
        {"topics": ["order.*"], "store": "berlin"},
        {"owner": 200, "other": 422, "manager": 200},
    ),
    ("get", "subscriptions/{subscription}/", ["view_subscription"], None, OWNED),
    ("put", "subscriptions/{subscription}/", ["change_subscription"], ENDPOINT, OWNED),
    ("patch", "subscriptions/{subscription}/", ["change_subscription"], {}, OWNED),
    ("delete", "subscriptions/{subscription}/", ["delete_subscription"], None, owned(204)),
    ("post", "subscriptions/{subscription}/pause/", ["change_subscription"], {}, OWNED),
    ("post", "subscriptions/{subscription}/resume/", ["change_subscription"], {}, OWNED),
    ("post", "subscriptions/{subscription}/rotate-secret/", ["change_subscription"], {}, OWNED),
    ("post", "subscriptions/{subscription}/revoke-former-secrets/", ["change_subscription"], {}, OWNED),
    ("post", "subscriptions/{subscription}/replay/", ["redeliver_delivery", "view_subscription"], SINCE, owned(202)),
    ("post", "subscriptions/{subscription}/backfill/", ["redeliver_delivery", "view_subscription"], {}, owned(202)),
    ("get", "subscriptions/{subscription}/stats/", ["view_subscription", "view_delivery"], None, OWNED),
    ("get", "subscriptions/{subscription}/missed/", ["view_subscription", "view_event"], None, OWNED),
    (
        "get",
        "subscriptions/{subscription}/preview/?order=7&topic=order.paid",
        ["view_subscription", "view_payload"],
        None,
        OWNED,
    ),
    ("get", "subscriptions/{subscription}/version-diff/", ["view_subscription"], None, OWNED),
    ("post", "subscriptions/{subscription}/move-version/", ["change_subscription"], {}, OWNED),
    ("get", "subscriptions/by-name/Mine/", ["view_subscription"], None, OWNED),
    (
        "put",
        "subscriptions/by-name/Mine/",
        ["add_subscription", "change_subscription"],
        {name: value for name, value in ENDPOINT.items() if name != "name"},
        {"owner": 200, "other": 422, "manager": 409},
    ),
    ("delete", "subscriptions/by-name/Mine/", ["delete_subscription"], None, owned(204)),
    ("get", "deliveries/", ["view_delivery"], None, ALL),
    ("get", "deliveries/{delivery}/", ["view_delivery"], None, OWNED),
    ("get", "deliveries/{delivery}/attempts/", ["view_delivery"], None, OWNED),
    ("get", "deliveries/{delivery}/curl/", ["view_delivery", "view_payload"], None, OWNED),
    ("post", "deliveries/{delivery}/redeliver/", ["redeliver_delivery", "view_delivery"], {}, owned(202)),
    ("post", "deliveries/{delivery}/skip/", ["redeliver_delivery", "view_delivery"], {}, OWNED),
    (
        "post",
        "deliveries/redeliver/",
        ["redeliver_delivery", "view_delivery"],
        {"deliveries": ["{delivery}"]},
        {"owner": 202, "other": 422, "manager": 202},
    ),
    (
        "post",
        "deliveries/skip/",
        ["redeliver_delivery", "view_delivery"],
        {"deliveries": ["{delivery}"]},
        {"owner": 200, "other": 422, "manager": 200},
    ),
    ("get", "replays/", ["view_replay"], None, ALL),
    (
        "post",
        "replays/",
        ["redeliver_delivery", "view_subscription"],
        {"subscription": "{subscription}", **SINCE},
        {"owner": 202, "other": 422, "manager": 202},
    ),
    ("get", "replays/{replay}/", ["view_replay"], None, OWNED),
    (
        "post",
        "replays/{replay}/cancel/",
        ["redeliver_delivery", "view_subscription", "view_replay"],
        {},
        OWNED,
    ),
    ("get", "backfills/", ["view_backfill"], None, ALL),
    (
        "post",
        "backfills/",
        ["redeliver_delivery", "view_subscription"],
        {"subscription": "{subscription}"},
        {"owner": 202, "other": 422, "manager": 202},
    ),
    ("get", "backfills/{backfill}/", ["view_backfill"], None, OWNED),
    (
        "post",
        "backfills/{backfill}/cancel/",
        ["redeliver_delivery", "view_subscription", "view_backfill"],
        {},
        OWNED,
    ),
    ("get", "stats/", ["view_delivery"], None, ALL),
]
# One waits for an endpoint: tests/api/test_actions.py. One needs no login: tests/api/test_receiver_requests.py.
ELSEWHERE = {
    ("post", "subscriptions/{public_id}/test/"),
    ("post", "subscriptions/{public_id}/resume-by-receiver/"),
}


def store_of_berlin(user: Any) -> list[str]:
    """The setting STORES_FOR_USER."""
    return ["berlin"] if user.email == "owner@example.com" else []


@pytest.fixture(autouse=True)
def stores(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.store_of_berlin"}


class World:
    """A subscription with an owner, and what belongs to it."""

    def __init__(self, *, backfill: bool = False) -> None:
        self.owner = make_user(email="owner@example.com")
        self.subscription = make_subscription(
            name="Mine", owner=self.owner, store="berlin", url="http://127.0.0.1:8009/"
        )
        self.order = make_order(number="7", store="berlin")
        self.fulfillment = make_fulfillment(self.order)
        self.delivery = make_delivery(state=Delivery.State.FAILED, subscription=self.subscription)
        event = self.delivery.event
        type(event).objects.filter(pk=event.pk).update(store="berlin")
        self.failed_event = make_failed_event(store="berlin", source="gone")
        self.replay = make_replay(subscription=self.subscription)
        self.consumer = make_consumer(user=self.owner)
        if backfill:
            # While it runs, no other one can be started.
            self.backfill = make_backfill(subscription=self.subscription)

    def ids(self) -> dict[str, str]:
        rows = {name: row.public_id for name, row in vars(self).items() if name not in ("owner", "fulfillment")}
        return {**rows, "fulfillment": str(self.fulfillment.pk), "event": self.delivery.event.public_id}

    def caller(self, role: str, permissions: list[str]) -> APIClient:
        granted = [*permissions, *(["manage_all_subscriptions"] if role == "manager" else [])]
        user = make_user(*granted)
        if role == "owner":
            user = self.owner
            user.user_permissions.set(make_user(*granted).user_permissions.all())
        client = APIClient()
        client.force_login(user)
        return client


def call(client: APIClient, method: str, path: str, body: Any, ids: dict[str, str]) -> int:
    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return value.format(**ids)
        if isinstance(value, list):
            return [filled(one) for one in value]
        return {name: filled(one) for name, one in value.items()} if isinstance(value, dict) else value

    data = None if body is None else filled(body)
    response = getattr(client, method)(f"/api/{path.format(**ids)}", data, format=None if data is None else "json")
    return response.status_code


@pytest.mark.parametrize(("method", "path", "permissions", "body", "statuses"), TABLE)
@pytest.mark.parametrize("role", ["anonymous", "without", "owner", "other", "manager"])
def test_an_endpoint_responds_to_each_caller(role, method, path, permissions, body, statuses):
    world = World(backfill="{backfill}" in path)
    if role == "anonymous":
        assert call(APIClient(), method, path, body, world.ids()) == 403
        return
    if role == "without":
        for missing in permissions:
            client = world.caller("owner", [one for one in EVERYTHING if one != missing])
            assert call(client, method, path, body, world.ids()) == 403, missing
        return
    assert call(world.caller(role, permissions), method, path, body, world.ids()) == statuses[role]


def test_the_table_has_every_endpoint_and_method():
    def addressed(path: str) -> str:
        return path.split("?")[0]

    told = {(method, addressed(path)) for method, path, *_ in TABLE}
    there = set(ELSEWHERE)
    found: set[tuple[str, str]] = set()
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        actions = getattr(pattern.callback, "actions", {})
        found |= {(method, plain(str(pattern.pattern))) for method in actions if method != "head"}
    assert {(method, plain(path)) for method, path in told | there} == found


def plain(pattern: str) -> str:
    """An address with `*` for what varies."""
    for shown, number in (("<str:source>/<path:number>", "*/*"), ("orderhooks/1001", "*/*"), ("<path:name>", "*")):
        pattern = pattern.replace(shown, number)
    steps = pattern.strip("^$").replace("by-name/Mine", "by-name/*").split("/")
    varying = ("(", "{")
    plain_steps = []
    skip = False
    for step in steps:
        if skip:
            skip = not step.endswith(")")
            continue
        if step.startswith(varying) or step == "order.paid":
            plain_steps.append("*")
            skip = step.startswith("(") and not step.endswith(")")
        else:
            plain_steps.append(step)
    return "/".join(plain_steps)


def test_lists_hold_what_belongs_to_the_caller_alone():
    world = World(backfill=True)
    other = make_delivery().subscription
    make_replay(subscription=other)
    make_backfill(subscription=other)
    make_consumer()
    for path, role, count in [
        ("subscriptions", "owner", 1),
        ("subscriptions", "other", 0),
        ("subscriptions", "manager", 2),
        ("deliveries", "owner", 1),
        ("deliveries", "other", 0),
        ("deliveries", "manager", 2),
        ("replays", "owner", 1),
        ("replays", "other", 0),
        ("replays", "manager", 2),
        ("backfills", "owner", 1),
        ("backfills", "other", 0),
        ("backfills", "manager", 2),
        ("consumers", "owner", 1),
        ("consumers", "other", 0),
        ("consumers", "manager", 2),
        ("events", "other", 0),
    ]:
        response = world.caller(role, EVERYTHING[:-1]).get(f"/api/{path}/")
        assert len(response.data["results"]) == count, (path, role)


def test_events_are_those_of_the_stores_that_the_user_may_subscribe_to():
    world = World()
    make_delivery()
    response = world.caller("owner", ["view_event"]).get("/api/events/")
    assert {one["store"] for one in response.data["results"]} == {"berlin"}


def test_whose_a_subscription_is_can_not_be_written():
    world = World()
    client = world.caller("owner", EVERYTHING[:-1])
    created = post(client, "/subscriptions/", {**ENDPOINT, "owner": "somebody"})
    assert created.data["owner"] == world.owner.get_username()
    patch(client, f"/subscriptions/{created.data['public_id']}/", {"owner": None})
    assert Subscription.objects.get(public_id=created.data["public_id"]).owner == world.owner


@pytest.mark.parametrize("fields", [{"store": "paris"}, {"store": ""}])
def test_an_owner_subscribes_to_the_stores_of_the_setting_alone(fields):
    world = World()
    client = world.caller("owner", EVERYTHING[:-1])
    response = post(client, "/subscriptions/", {**ENDPOINT, **fields})
    assert (response.status_code, response.data["errors"][0]["pointer"]) == (422, "/store")
    assert "berlin" in response.data["detail"]
    path = f"/subscriptions/{world.subscription.public_id}/"
    assert patch(client, path, fields).status_code == 422
    assert patch(client, path, {"name": "New", "store": "berlin"}).status_code == 200


def test_an_order_report_covers_only_the_callers_subscriptions():
    world = World()
    make_delivery(event=world.delivery.event)
    type(world.delivery.event).objects.update(order_pk=str(world.order.pk), source="orderhooks")
    for role, names in (("owner", 1), ("manager", 2)):
        client = world.caller(role, ["view_order", "view_delivery"])
        for report in client.get(f"/api/orders/{world.order.public_id}/webhooks/").data:
            assert len(report["subscriptions"]) == names


@pytest.mark.parametrize("path", ["/events/", "/topics/"])
def test_the_log_and_the_catalogue_can_not_be_written(api, path):
    response = post(api, path, {})
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("record", ["events", "deliveries"])
@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_record_of_the_log_can_not_be_changed(api, record, method):
    delivery = make_delivery()
    public_id = (delivery.event if record == "events" else delivery).public_id
    assert getattr(api, method)(f"/api/{record}/{public_id}/", {}, format="json").status_code == 405
