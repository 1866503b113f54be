"""Operational subscriptions: only users who may manage all subscriptions have them, by API, admin and declarations."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from rest_framework.test import APIClient

from orderhooks.models import Replay, Subscription
from tests.admin.visits import client_of
from tests.api.calls import errors_of, patch, post
from tests.commands.calls import called
from tests.factories import make_delivery, make_subscription, make_user

pytestmark = pytest.mark.django_db

ON_CALL = {"name": "On call", "url": "https://pager.example/hooks", "topics": ["*"], "operational": True}
MAY_SUBSCRIBE = ("view_subscription", "add_subscription", "change_subscription", "delete_subscription", "view_delivery")
FORM = {
    "name": "On call",
    "url": "https://pager.example/hooks",
    "topics": "*",
    "format": "standard",
    "signature": "standard",
    "operational": "on",
    "objective_share": "99.9",
}


def test_who_manages_all_subscriptions_adds_and_changes_one(api: APIClient) -> None:
    made = post(api, "/subscriptions/", ON_CALL)
    assert (made.status_code, made.data["operational"]) == (201, True)
    path = f"/subscriptions/{made.data['public_id']}/"
    assert patch(api, path, {"topics": ["worker.missing"]}).status_code == 200
    assert "operational" in errors_of(patch(api, path, {"topics": ["order.paid"]}))["/topics"]
    assert "Add another subscription" in errors_of(patch(api, path, {"operational": False}))["/operational"]
    assert "/store" in errors_of(patch(api, path, {"store": "Köln"}))


def test_a_subscription_to_orders_gets_no_operational_topic(api: APIClient) -> None:
    errors = errors_of(post(api, "/subscriptions/", {**ON_CALL, "operational": False, "topics": ["worker.missing"]}))
    assert "operational" in errors["/topics/0" if "/topics/0" in errors else "/topics"]


def test_what_is_sent_again_fits_the_kind_of_the_subscription(api: APIClient) -> None:
    for is_operational, topic in ((False, "webhook.subscription.failing"), (True, "order.paid")):
        subscription = make_subscription(operational=is_operational)
        path = f"/subscriptions/{subscription.public_id}/"
        plan = {"since": "2026-01-01T00:00:00Z", "topics": [topic]}
        for refused in (
            post(api, f"{path}replay/", plan),
            post(api, f"{path}replay/", {**plan, "dry_run": True}),
            post(api, f"{path}backfill/", {"topic": topic}),
        ):
            assert refused.status_code == 422
            assert errors_of(refused).keys() & {"/topic", "/topics"}, errors_of(refused)
    assert not Replay.objects.exists()


def test_others_neither_add_nor_see_nor_change_one(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.test_alarms.all_stores"}
    user, shopkeeper = make_user(*MAY_SUBSCRIBE), APIClient()
    shopkeeper.force_login(user)
    refused = post(shopkeeper, "/subscriptions/", ON_CALL)
    assert "manage all subscriptions" in errors_of(refused)["/operational"]
    assert post(shopkeeper, "/subscriptions/", {**ON_CALL, "operational": False}).status_code == 201
    lost = make_subscription(operational=True, owner=user)
    delivery = make_delivery(subscription=lost)
    path = f"/subscriptions/{lost.public_id}/"
    assert patch(shopkeeper, path, {"name": "Mine"}).status_code == 404
    assert shopkeeper.get(f"/api{path}").status_code == shopkeeper.delete(f"/api{path}").status_code == 404
    assert shopkeeper.get(f"/api/deliveries/{delivery.public_id}/").status_code == 404


def test_the_topics_have_schemas_and_the_api_lists_them(api: APIClient) -> None:
    names = [topic["name"] for topic in api.get("/api/topics/").json()]
    assert "worker.missing" in names
    assert api.get("/api/topics/worker.missing/schema/").status_code == 200


def test_in_the_admin_too() -> None:
    operational = make_subscription(operational=True, name="Pager")
    others = client_of(make_user(*MAY_SUBSCRIBE, is_staff=True))
    manager = client_of(make_user(*MAY_SUBSCRIBE, "manage_all_subscriptions", is_staff=True))
    path = f"/admin/orderhooks/subscription/{operational.pk}/change/"
    assert "Pager" not in others.get("/admin/orderhooks/subscription/").content.decode()
    assert others.get(path).status_code == 302
    others.post("/admin/orderhooks/subscription/add/", FORM)
    assert not Subscription.objects.get(name="On call").operational
    Subscription.objects.filter(name="On call").delete()
    manager.post("/admin/orderhooks/subscription/add/", FORM)
    assert Subscription.objects.get(name="On call").operational
    shown = manager.get(path).content.decode()
    assert 'name="operational"' not in shown, "it stays what it is"
    assert "webhook.subscription.failing" in shown
    assert "order.paid" not in shown
    assert "Pager" in manager.get("/admin/orderhooks/subscription/?operational__exact=1").content.decode()


def test_a_declaration_makes_one_and_does_not_turn_one_round(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.toml"
    table = '[[subscriptions]]\nname = "On call"\nurl = "https://pager.example/"\ntopics = ["*"]\n'
    file.write_text(f"{table}operational = true\n")
    called("orderhooks_apply", str(file))
    assert Subscription.objects.get().operational
    file.write_text(table)
    with pytest.raises(CommandError, match="Add another subscription"):
        called("orderhooks_apply", str(file))
