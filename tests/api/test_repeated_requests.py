"""`Idempotency-Key`: a POST that comes again gets the first response, and does nothing more."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks import retention_periods
from orderhooks.models import Delivery, IdempotentRequest, Order, Subscription
from orderhooks.retention import prune
from tests.api.calls import EVERYTHING, client_with
from tests.factories import make_delivery, make_failed_event, make_order, make_subscription, make_user
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db

ENDPOINT = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["*"]}


def send(api: APIClient, path: str, body: object, key: str = "a") -> Any:
    return api.post(f"/api{path}", body, format="json", headers={"Idempotency-Key": key})


def test_a_repeated_request_gets_the_same_response_and_does_nothing(api):
    first, second = (send(api, "/orders/", {"note": "x"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second["ETag"] == first["ETag"]
    assert ("Idempotent-Replayed" in first, second["Idempotent-Replayed"]) == (False, "true")
    assert Order.objects.count() == 1


def test_the_secret_comes_again_with_the_repeated_response_and_is_encrypted_meanwhile(api):
    first, second = (send(api, "/subscriptions/", ENDPOINT) for _ in range(2))
    assert first.data["secret"].startswith("whsec_")
    assert second.data["secret"] == first.data["secret"]
    assert first.data["secret"] not in IdempotentRequest.objects.get().response
    assert Subscription.objects.count() == 1


@pytest.mark.parametrize(("path", "body"), [("/orders/", {"note": "y"}), ("/subscriptions/", {"note": "x"})])
def test_another_request_under_the_same_key_is_a_conflict(api, path, body):
    send(api, "/orders/", {"note": "x"})
    response = send(api, path, body)
    assert (response.status_code, response.data["code"]) == (409, "idempotency_key_reused")
    assert (Order.objects.count(), Subscription.objects.count()) == (1, 0)


def test_a_key_is_the_users_own(api):
    send(api, "/orders/", {})
    assert "Idempotent-Replayed" not in send(client_with(*EVERYTHING), "/orders/", {})
    assert Order.objects.count() == 2


def test_a_refused_request_may_be_corrected_under_its_key(api):
    assert send(api, "/orders/", {"total": "-1"}).status_code == 400
    assert not IdempotentRequest.objects.exists()
    assert send(api, "/orders/", {"total": "1"}).status_code == 201


def test_a_key_is_forgotten_after_a_day_and_its_row_deleted(api):
    send(api, "/orders/", {})
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=23))
    assert send(api, "/orders/", {})["Idempotent-Replayed"] == "true"
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert "Idempotent-Replayed" not in send(api, "/orders/", {})
    assert Order.objects.count() == 2
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    prune(before=retention_periods.current().cutoffs(now=timezone.now()))
    assert not IdempotentRequest.objects.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "é"])
def test_a_key_that_is_none_is_refused(api, key):
    response = send(api, "/orders/", {}, key=key)
    assert response.status_code == 400
    assert "Idempotency-Key" in response.data["detail"]


def test_keys_differ_by_case(api):
    send(api, "/orders/", {}, key="a")
    assert "Idempotent-Replayed" not in send(api, "/orders/", {}, key="A")


def test_an_action_is_done_once(api):
    delivery = make_delivery(state=Delivery.State.FAILED)
    path = f"/deliveries/{delivery.public_id}/redeliver/"
    first = send(api, path, {})
    Delivery.objects.update(state="failed", finished_at=timezone.now())
    assert send(api, path, {}).json() == first.json()
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.FAILED


@pytest.mark.django_db(transaction=True)
def test_a_test_is_sent_once(receiver: RecordingReceiver):
    api = client_with(*EVERYTHING)
    path = f"/subscriptions/{make_subscription(url=receiver.url).public_id}/test/"
    first, second = (send(api, path, {}) for _ in range(2))
    assert first.status_code == 200
    assert second.json() == first.json()
    assert len(receiver.received) == 1


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_of_one_key_do_it_once():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory is one connection; run with TEST_DATABASE=postgres")
    api = client_with(*EVERYTHING)
    barrier, responses = threading.Barrier(4), []

    def run() -> None:
        barrier.wait(10)
        try:
            responses.append(send(api, "/orders/", {}))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [response.status_code for response in responses] == [201] * 4
    assert len({response.json()["public_id"] for response in responses}) == 1
    assert Order.objects.count() == 1


def test_a_user_who_has_lost_a_permission_does_not_get_the_former_response():
    event = make_failed_event(order_pk=str(make_order().pk))
    user = make_user("redeliver_delivery", "view_event", "view_payload", "manage_all_subscriptions")
    api = APIClient()
    api.force_login(user)
    path = f"/events/{event.public_id}/republish/"
    assert "payload" in send(api, path, {}).data
    assert send(api, path, {})["Idempotent-Replayed"] == "true"
    user.user_permissions.remove(Permission.objects.get(codename="view_payload"))
    response = send(api, path, {})
    assert (response.status_code, response.data["code"]) == (409, "idempotency_key_reused")
    assert "payload" not in response.data


def test_a_user_who_has_lost_a_store_does_not_get_the_former_response(settings):
    stores = ["berlin"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.api.test_repeated_requests.stores_of"}
    STORES[:] = stores
    api = client_with("add_order", "view_order")
    assert send(api, "/orders/", {"store": "berlin"}).status_code == 201
    STORES[:] = ["paris"]
    assert send(api, "/orders/", {"store": "berlin"}).status_code == 409


STORES: list[str] = []


def stores_of(_user: Any) -> list[str]:
    return STORES
