"""A user of one store sees and writes the orders of that store alone."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks.models import Delivery, Order
from tests.admin.visits import history_of
from tests.api.calls import client_with, errors_of, ids, patch, post
from tests.factories import make_attempt_stats, make_backfill, make_delivery, make_event, make_order, make_subscription

pytestmark = pytest.mark.django_db
ELSEWHERE = "https://elsewhere.example/a"
WITH_MICROSECONDS = "%Y-%m-%dT%H:%M:%S.%fZ"
PERMISSIONS = [f"{verb}_{name}" for verb in ("view", "add", "change", "delete") for name in ("order", "subscription")]


def of_berlin(_user: object) -> list[str]:
    return ["berlin"]


@pytest.fixture
def api(settings) -> APIClient:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.of_berlin"}
    return client_with(*PERMISSIONS, "view_delivery", "view_event", "view_payload")


def test_lists_hold_the_orders_of_the_store_alone_also_filtered(api):
    make_order(number="7", store="paris")
    mine = make_order(number="7", store="berlin")

    for query in ("", "?number=7", "?store=berlin"):
        assert ids(api.get(f"/api/orders/{query}")) == [mine.public_id]
    assert ids(api.get("/api/orders/?store=paris")) == []


@pytest.mark.parametrize(
    ("method", "tail"), [("get", ""), ("put", ""), ("patch", ""), ("delete", ""), ("get", "webhooks/")]
)
def test_an_order_of_another_store_is_a_404(api, method, tail):
    order = make_order(store="paris")

    response = getattr(api, method)(f"/api/orders/{order.public_id}/{tail}", {}, format="json")

    assert response.status_code == 404
    assert Order.objects.filter(pk=order.pk).exists()


def test_no_order_is_written_into_another_store_and_errors_do_not_show_its_numbers(api):
    make_order(number="7", store="paris")
    mine = make_order(number="8", store="berlin")

    for number in ("7", "9"):
        responses = [
            post(api, "/orders/", {"number": number, "store": "paris"}),
            patch(api, f"/orders/{mine.public_id}/", {"number": number, "store": "paris"}),
        ]
        for response in responses:
            assert response.status_code == 422
            assert list(errors_of(response)) == ["/store"]


def test_the_events_of_the_time_in_another_store_are_not_shown(api):
    order = make_order(store="berlin")
    make_event(order_pk=str(order.pk), store="paris")
    mine = make_event(order_pk=str(order.pk), store="berlin")

    found = {one["public_id"] for one in api.get(f"/api/orders/{order.public_id}/webhooks/").data}

    assert mine.public_id in found
    assert all(one["store"] == "berlin" for one in api.get(f"/api/orders/{order.public_id}/webhooks/").data)


def test_a_preview_shows_no_order_that_has_left_the_store(api):
    owner = int(api.session["_auth_user_id"])
    subscription = make_subscription(store="berlin", owner_id=owner)
    order = make_order(number="7", store="paris")
    make_event(order_number="7", order_pk=str(order.pk), store="berlin", source="orderhooks")

    response = api.get(f"/api/subscriptions/{subscription.public_id}/preview/?order=7&topic=order.paid")

    assert response.status_code == 409
    assert "There is no order" in response.data["detail"]


@pytest.mark.parametrize("store", ["paris", ""])
def test_a_preview_for_a_store_that_was_withdrawn_is_a_404_whatever_the_order(api, monkeypatch, store):
    subscription = make_subscription(store=store, owner_id=int(api.session["_auth_user_id"]))
    make_order(number="7", store="paris")
    monkeypatch.setattr("orderhooks.sources.BuiltInOrders.payload", lambda *_arguments: 1 / 0)

    for number in ("7", "8"):
        response = api.get(f"/api/subscriptions/{subscription.public_id}/preview/?order={number}&topic=order.paid")
        assert (response.status_code, "ZeroDivisionError" in response.data["detail"]) == (404, False)


def test_without_the_setting_the_permissions_hold_for_all_stores():
    order = make_order(store="paris")

    assert ids(client_with("view_order").get("/api/orders/")) == [order.public_id]


@pytest.mark.parametrize("store", ["paris", ""])
def test_a_subscription_whose_store_was_withdrawn_shows_its_owner_no_orders(settings, store):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.of_berlin"}
    api = client_with(*PERMISSIONS, "view_delivery", "view_event", "view_payload", "view_replay", "redeliver_delivery")
    owner = int(api.session["_auth_user_id"])
    subscription = make_subscription(store=store, owner_id=owner, url="https://crm.example/a")
    delivery = make_delivery(subscription=subscription, event=make_event(store="paris", order_number="P-7"))
    plan = {"since": "2026-01-01T00:00:00Z", "dry_run": True}
    mine = f"/subscriptions/{subscription.public_id}/"

    assert ids(api.get("/api/deliveries/")) == []
    for path in ("", "curl/", "attempts/"):
        assert api.get(f"/api/deliveries/{delivery.public_id}/{path}").status_code == 404
    assert api.get(f"/api{mine}missed/").status_code == 404
    assert post(api, f"{mine}replay/", plan).status_code == 404
    assert post(api, "/replays/", {**plan, "subscription": subscription.public_id}).status_code == 422
    assert post(api, f"{mine}backfill/", plan).status_code == 404
    assert post(api, "/backfills/", {**plan, "subscription": subscription.public_id}).status_code == 422
    assert patch(api, mine, {"url": ELSEWHERE}).status_code == 422
    # They still see it, and may call it off.
    assert ids(api.get("/api/subscriptions/")) == [subscription.public_id]
    assert patch(api, mine, {"name": "Former"}).status_code == 200
    assert post(api, f"{mine}pause/", {}).status_code == 200


@pytest.mark.parametrize("sent", [{"store": "berlin", "url": ELSEWHERE}, {"url": ELSEWHERE}], ids=["both", "url"])
@pytest.mark.parametrize("store", ["paris", "", "berlin"])
def test_what_waits_of_another_store_goes_to_no_other_url(api, store, sent):
    subscription = make_subscription(store=store, owner_id=int(api.session["_auth_user_id"]), state="paused")
    waiting = make_delivery(subscription=subscription, event=make_event(store="paris"))
    path, former = f"/subscriptions/{subscription.public_id}/", subscription.url

    patch(api, path, {"store": "berlin"})
    refused = patch(api, path, sent)
    assert (refused.status_code, list(errors_of(refused))) == (422, ["/url"])
    subscription.refresh_from_db()
    assert subscription.url == former

    post(api, f"{path}resume/", {"skip_before": f"{timezone.now():{WITH_MICROSECONDS}}"})
    waiting.refresh_from_db()
    assert (waiting.state, patch(api, path, sent).status_code) == ("skipped", 200)


def test_a_withdrawn_store_and_the_url_are_not_changed_at_once_while_something_waits(api):
    subscription = make_subscription(store="paris", owner_id=int(api.session["_auth_user_id"]))
    make_delivery(subscription=subscription, event=make_event(store="paris"))
    path = f"/subscriptions/{subscription.public_id}/"

    assert list(errors_of(patch(api, path, {"store": "berlin", "url": ELSEWHERE}))) == ["/url"]


def test_what_waits_of_ones_own_store_goes_to_the_new_url(api):
    subscription = make_subscription(store="berlin", owner_id=int(api.session["_auth_user_id"]))
    make_delivery(subscription=subscription, event=make_event(store="berlin"))
    for state in ("delivered", "failed"):
        make_delivery(subscription=subscription, event=make_event(store="paris"), state=state)

    assert patch(api, f"/subscriptions/{subscription.public_id}/", {"url": ELSEWHERE}).status_code == 200


def test_a_subscription_whose_store_was_withdrawn_shows_its_owner_no_statistics(api):
    owner = int(api.session["_auth_user_id"])
    withdrawn = make_subscription(store="paris", owner_id=owner)
    mine = make_subscription(store="berlin", owner_id=owner)
    make_attempt_stats(withdrawn, 5)
    make_attempt_stats(mine, 3)
    make_delivery(subscription=withdrawn)

    assert api.get(f"/api/subscriptions/{withdrawn.public_id}/stats/").status_code == 404
    found = api.get("/api/stats/").data
    assert (found["succeeded"], found["waiting"]) == (3, 0)
    assert api.get(f"/api/subscriptions/{mine.public_id}/stats/").data["succeeded"] == 3


def test_deliveries_from_the_time_in_another_store_are_not_shown(api):
    owner = int(api.session["_auth_user_id"])
    subscription = make_subscription(store="berlin", owner_id=owner)
    former = make_delivery(subscription=subscription, event=make_event(store="paris"), state="failed")
    mine = make_delivery(subscription=subscription, event=make_event(store="berlin"))

    assert ids(api.get("/api/deliveries/")) == [mine.public_id]
    for path in ("", "attempts/", "curl/"):
        assert api.get(f"/api/deliveries/{former.public_id}/{path}").status_code == 404


def test_what_waits_from_the_time_in_another_store_is_not_counted(api):
    subscription = make_subscription(store="berlin", owner_id=int(api.session["_auth_user_id"]), state="paused")
    former = make_delivery(subscription=subscription, event=make_event(store="paris"))
    mine = make_delivery(subscription=subscription, event=make_event(store="berlin"))
    former_at = mine.created_at - timedelta(days=3)
    Delivery.objects.filter(pk=former.pk).update(created_at=former_at)

    for path in ("stats/", f"subscriptions/{subscription.public_id}/stats/"):
        found = api.get(f"/api/{path}").data
        assert (found["waiting"], found["oldest_waiting_at"]) == (1, f"{mine.created_at:{WITH_MICROSECONDS}}")
    post(
        api,
        f"/subscriptions/{subscription.public_id}/resume/",
        {"skip_before": f"{timezone.now():{WITH_MICROSECONDS}}"},
    )
    assert history_of(subscription)[-1][1] == "By the API: Resumed; 1 deliveries skipped."
    assert set(Delivery.objects.values_list("state", flat=True)) == {"skipped"}


def test_events_from_the_time_in_another_store_are_not_named(api):
    subscription = make_subscription(store="berlin", owner_id=int(api.session["_auth_user_id"]), ordered=True)

    def delivered(store, **fields):
        event = make_event(topic="order.updated", store=store, order_pk="1", order_number="1001")
        return make_delivery(event=event, subscription=subscription, **fields)

    merged = delivered("berlin", state="skipped", merges_from=1)
    carrier = delivered("paris", state="delivered", merges_from=1, merged_changes={})
    failed = delivered("paris", state="failed")
    waiting = delivered("berlin")
    delivered("paris")

    shown = [api.get(f"/api/deliveries/{one.public_id}/").data for one in (merged, waiting)]
    report = api.get("/api/orders/orderhooks/1001/webhooks/").data
    assert shown[0]["merged_into"] is None
    assert "into a later update of the order" in shown[0]["summary"][0]
    assert "Waits for another event of order 1001: the subscription is ordered." in shown[1]["summary"]
    assert not any("holds up" in sentence for sentence in shown[1]["summary"])
    assert [outcome["text"] for one in report for outcome in one["subscriptions"]][-1] == "merged into a later update"
    for hidden in (carrier, failed):
        assert hidden.event.public_id not in f"{shown}{report}"


def test_a_replay_knows_no_topic_that_only_events_of_another_store_have(api):
    user = User.objects.get(pk=int(api.session["_auth_user_id"]))
    user.user_permissions.add(Permission.objects.get(codename="redeliver_delivery"))
    subscription = make_subscription(store="berlin", owner=user)
    make_event(topic="order.dropped_there", store="paris")
    make_event(topic="order.dropped_here", store="berlin")

    def status(topic):
        plan = {"since": "2026-01-01T00:00:00Z", "topics": [topic], "dry_run": True}
        return post(api, f"/subscriptions/{subscription.public_id}/replay/", plan).status_code

    assert [status(f"order.dropped_{one}") for one in ("here", "there", "nowhere")] == [200, 422, 422]


@pytest.mark.parametrize(("total", "walked"), [(None, None), (90, 77)])
def test_a_backfill_does_not_count_the_orders_of_other_stores(api, total, walked):
    client = client_with("view_backfill")
    subscription = make_subscription(store="berlin", owner_id=int(client.session["_auth_user_id"]))
    backfill = make_backfill(subscription=subscription, walked=77, total=total)

    assert client.get(f"/api/backfills/{backfill.public_id}/").data["walked"] == walked
    manager = client_with("view_backfill", "manage_all_subscriptions")
    assert manager.get(f"/api/backfills/{backfill.public_id}/").data["walked"] == 77
