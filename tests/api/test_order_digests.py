"""Digests of orders: what a receiver compares with its own copy, page by page."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import payloads
from orderhooks.db.locks import one_at_a_time
from orderhooks.models import Event, Order
from orderhooks.receiver import digest
from tests.api.calls import client_with
from tests.factories import make_event_at, make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def settle() -> None:
    Event.objects.update(published_at=timezone.now() - timedelta(minutes=5))


def stores_of(user: Any) -> list[str]:
    return ["berlin"]


def rows_of(api: Any, url: str = "/api/orders/digests/") -> dict[str, dict[str, Any]]:
    response = api.get(url)
    assert response.status_code == 200, response.data
    return {row["number"]: row for row in response.data["results"]}


def test_a_receiver_finds_what_it_lacks_by_the_digests_of_what_it_got(api: Any) -> None:
    make_subscription()
    for number in ("1", "2", "3"):
        make_order(number=number, metadata={"weight": 1.50, "id": 2**60 + 1}, note="ß\u2028")
    bodies = [json.loads(payloads.encode(payloads.envelope(event))) for event in Event.objects.order_by("sequence")]
    # What the receiver keeps: the newest order by number.
    mine = {body["data"]["order"]["number"]: body for body in bodies}
    Order.objects.get(number="1").delete()
    changed = Order.objects.get(number="2")
    changed.note = "other"
    changed.save()
    settle()
    response = api.get("/api/orders/digests/")
    without = response.data["not_in_digest"]["orderhooks"]
    rows = {row["number"]: row for row in response.data["results"]}
    same = [
        number
        for number, row in rows.items()
        if row["digest"] == digest(mine[number]["data"]["order"], without=without)
    ]
    assert same == ["3"]
    assert [number for number, row in rows.items() if row["digest"] is None] == ["1"]
    assert rows["3"]["sequence"] == mine["3"]["sequence"]
    assert rows["2"]["sequence"] > mine["2"]["sequence"]


def test_pages_follow_the_sequence_and_a_change_moves_an_order_to_the_end(api: Any) -> None:
    make_subscription()
    orders = [make_order(number=str(number), lines=()) for number in range(5)]
    settle()
    first = api.get("/api/orders/digests/?page_size=3")
    second = api.get(first.data["next"])
    numbers = [row["number"] for page in (first, second) for row in page.data["results"]]
    assert numbers == ["0", "1", "2", "3", "4"]
    assert second.data["next"] is None
    orders[0].note = "new"
    orders[0].save()
    settle()
    assert list(rows_of(api, f"/api/orders/digests/?after={second.data['after']}")) == ["0"]
    assert list(rows_of(api)) == ["1", "2", "3", "4", "0"]


def test_the_list_waits_where_an_earlier_event_may_yet_be_committed(api: Any) -> None:
    make_event_at(timezone.now() - timedelta(minutes=5), order_number="1")
    make_event_at(timezone.now(), order_number="2", order_pk="2")
    assert list(rows_of(api)) == ["1"]


def test_users_see_the_digests_of_their_stores_alone(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.api.test_order_digests.stores_of"}
    long_ago = timezone.now() - timedelta(minutes=5)
    make_event_at(long_ago, order_number="1", order_pk="1", store="berlin")
    make_event_at(long_ago, order_number="2", order_pk="2", store="paris")
    assert list(rows_of(client_with("view_event", "view_payload"))) == ["1"]


@pytest.mark.parametrize("permission", ["view_event", "view_payload", "view_order"])
def test_digests_need_two_permissions(permission: str) -> None:
    assert client_with(permission).get("/api/orders/digests/").status_code == 403


@pytest.mark.parametrize("query", ["after=-1", "after=x", "page=2", "page_size=1000", "after=9223372036854775808"])
def test_a_wrong_parameter_is_an_error(api: Any, query: str) -> None:
    assert api.get(f"/api/orders/digests/?{query}").status_code == 400


def test_a_number_that_no_receiver_can_read_is_refused(api: Any) -> None:
    response = api.post("/api/orders/", {"metadata": {"n": 10**400}}, format="json")
    assert response.status_code == 422
    assert "numbers of more than 308 digits" in str(response.data)


def test_a_list_that_is_up_to_date_is_read_without_a_lock(api: Any) -> None:
    make_event_at(timezone.now() - timedelta(minutes=5), order_number="1")
    assert list(rows_of(api)) == ["1"]
    with CaptureQueriesContext(connection) as queries:
        rows_of(api)
    assert [one["sql"] for one in queries if not one["sql"].startswith("SELECT")] == []
    assert not any("advisory" in one["sql"] for one in queries)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="a lock that others hold for long")
def test_while_another_process_keeps_the_digests_locked_they_are_shown_as_they_are(api: Any) -> None:
    make_event_at(timezone.now() - timedelta(minutes=5), order_number="1")
    assert list(rows_of(api)) == ["1"]
    make_event_at(timezone.now() - timedelta(minutes=5), order_number="2", order_pk="2")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with one_at_a_time("default", "digests"):
            held.set()
            done.wait(20)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(20)
    assert list(rows_of(api)) == ["1"]
    done.set()
    other.join()
    assert list(rows_of(api)) == ["1", "2"]
