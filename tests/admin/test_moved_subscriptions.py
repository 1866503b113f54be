"""A subscription that was of another store: its pages neither name nor count what it got of that store's orders."""

import re
from typing import Any

import pytest
from django.test import Client

from orderhooks.models import Delivery, Subscription
from tests.admin.shops import SETTING, visitor
from tests.admin.test_unaltered_orders import form_of
from tests.admin.visits import client_of, history_of, page, part
from tests.factories import make_attempt, make_delivery, make_event, make_subscription, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def setting(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}


def of_order(store: str, subscription: Subscription, **fields: Any) -> Delivery:
    event = make_event(topic="order.updated", store=store, order_pk="1", order_number="1001")
    return make_delivery(event=event, subscription=subscription, **fields)


@pytest.fixture
def moved() -> Subscription:
    """Of Berlin now; three deliveries about Paris wait, and one about Berlin."""
    subscription = make_subscription(name="CRM", store="berlin", state="paused")
    for store in ("paris", "paris", "paris", "berlin"):
        make_attempt(make_delivery(event=make_event(store=store), subscription=subscription))
    return subscription


def resume(client: Client, subscription: Subscription, **choice: str) -> str:
    url = f"/admin/orderhooks/subscription/{subscription.pk}/resume/"
    return client.post(url, choice, follow=True).content.decode()


@pytest.mark.parametrize(("kind", "count"), [("berlin", 1), ("unlimited", 4)])
def test_what_waits_is_counted_for_the_users_stores(moved: Subscription, kind: str, count: int) -> None:
    client = visitor(kind)
    waiting = part(r'<td class="field-waiting">.*?</td>', page(client, "subscription/"))
    assert f">{count}<" in waiting
    assert re.search(rf"\b{count} deliver(y|ies) waits?\.", page(client, f"subscription/{moved.pk}/change/"))
    assert f"Deliveries held: {count}." in resume(client, moved)
    unhealthy = client.get("/admin/orderhooks/dashboard/").context["unhealthy"]
    assert [one.waiting for one in unhealthy] == [str(count)]


@pytest.mark.parametrize(("kind", "count"), [("berlin", 1), ("unlimited", 4)])
def test_what_resuming_skips_is_counted_for_the_users_stores(moved: Subscription, kind: str, count: int) -> None:
    text = resume(visitor(kind), moved, confirmed="1", choice="none")
    assert f"Deliveries skipped: {count}." in text
    assert history_of(moved)[-1][1].startswith(f"Resumed; {count} deliver")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"skipped"}


@pytest.mark.parametrize(("kind", "url"), [("berlin", ""), ("unlimited", "https://elsewhere.example/")])
def test_what_waits_of_the_other_store_goes_to_no_other_url(moved: Subscription, kind: str, url: str) -> None:
    address, former = f"/admin/orderhooks/subscription/{moved.pk}/change/", moved.url
    client = visitor(kind)
    form = {**form_of(client, address), "topics": list(moved.topics), "url": "https://elsewhere.example/"}
    response = client.post(address, form)
    moved.refresh_from_db()
    assert moved.url == (url or former)
    if not url:
        assert "wait for this subscription" in str(response.context["adminform"].form.errors["url"])
        resume(client, moved, confirmed="1", choice="none")
        assert client.post(address, form).status_code == 302


@pytest.mark.parametrize(("kind", "count"), [("berlin", 1), ("unlimited", 4)])
def test_a_deletion_counts_the_deliveries_that_the_user_sees(moved: Subscription, kind: str, count: int) -> None:
    response = visitor(kind).get(f"/admin/orderhooks/subscription/{moved.pk}/delete/")
    counts = {"subscriptions": 1, "deliveries": count, "attempts": count}
    assert dict(response.context["model_count"]) == counts


@pytest.mark.parametrize("by_action", [False, True])
def test_a_deletion_counts_no_deliveries_for_who_may_not_see_them(moved: Subscription, by_action: bool) -> None:
    client = client_of(make_user("delete_subscription", "view_subscription", is_staff=True, first_name="berlin"))
    if by_action:
        fields = {"action": "delete_selected", "_selected_action": [str(moved.pk)]}
        response = client.post("/admin/orderhooks/subscription/", fields)
    else:
        response = client.get(f"/admin/orderhooks/subscription/{moved.pk}/delete/")
    assert dict(response.context["model_count"]) == {"subscriptions": 1}


def test_events_of_the_other_store_are_not_named() -> None:
    ordered = make_subscription(store="berlin", ordered=True)
    merged = of_order("berlin", ordered, state="skipped", merges_from=1)
    carrier = of_order("paris", ordered, state="delivered", merges_from=1, merged_changes={})
    failed = of_order("paris", ordered, state="failed")
    waiting = of_order("berlin", ordered)
    of_order("paris", ordered)
    texts = {
        kind: [page(visitor(kind), f"delivery/{one.pk}/change/") for one in (merged, waiting)]
        + [page(visitor(kind), "dashboard/order/?number=1001")]
        for kind in ("berlin", "unlimited")
    }
    ids = [carrier.event.public_id, failed.event.public_id]
    assert [one for one in ids if one in "".join(texts["berlin"])] == []
    assert "into a later update of the order" in texts["berlin"][0]
    assert "Waits for another event of order 1001: the subscription is ordered." in texts["berlin"][1]
    assert "holds up" not in texts["berlin"][1]
    assert carrier.event.public_id in texts["unlimited"][0]
    assert failed.event.public_id in texts["unlimited"][1]
    assert "holds up 1 later delivery" in texts["unlimited"][1]


def test_updates_of_the_other_store_that_were_merged_are_not_counted() -> None:
    subscription = make_subscription(store="berlin")
    for store in ("paris", "paris", "berlin"):
        of_order(store, subscription, state="skipped", merges_from=1)
    carrier = of_order("berlin", subscription, state="delivered", merges_from=1, merged_changes={})
    for kind, count in (("berlin", "1 earlier update"), ("unlimited", "3 earlier updates")):
        assert f"the changes of {count} of the order" in page(visitor(kind), f"delivery/{carrier.pk}/change/")
