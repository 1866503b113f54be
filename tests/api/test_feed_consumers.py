"""Consumers of the feed: the API keeps, for each, up to where it has acknowledged."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks import retention
from orderhooks.models import Delivery, Event, FeedConsumer
from tests.api.calls import client_with, errors_of, post
from tests.factories import (
    cutoffs_at,
    make_consumer,
    make_delivery,
    make_event,
    make_event_at,
    make_failed_event,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def old() -> datetime:
    return timezone.now() - timedelta(minutes=5)


def read(api: APIClient, query: str = "consumer=erp") -> Any:
    response = api.get(f"/api/events/?{query}")
    assert response.status_code == 200, response.data
    return response.data


def sequences(data: Any) -> list[int]:
    return [one["sequence"] for one in data["results"]]


def acknowledge(api: APIClient, after: int, **members: Any) -> Any:
    return post(api, "/events/acknowledge/", {"consumer": "erp", "after": after, **members})


def place(name: str = "erp") -> tuple[int, int]:
    consumer = FeedConsumer.objects.get(name=name)
    return consumer.acknowledged, consumer.read_up_to


def test_reading_does_not_move_the_place_and_acknowledging_does(api, old):
    made = [make_event_at(old).sequence for _ in range(3)]
    for _ in range(2):
        assert sequences(read(api, "consumer=erp&page_size=2")) == made[:2]
    assert place() == (0, made[1])
    response = acknowledge(api, made[1])
    assert (response.status_code, response.data["acknowledged"]) == (200, made[1])
    assert sequences(read(api)) == made[2:]


def test_a_consumer_reads_ahead_by_next_without_acknowledging(api, old):
    made = [make_event_at(old).sequence for _ in range(3)]
    first = read(api, "consumer=erp&page_size=2")
    assert sequences(api.get(first["next"]).data) == made[2:]
    assert place() == (0, made[2])


def test_a_place_never_moves_back_unless_asked(api, old):
    made = [make_event_at(old).sequence for _ in range(3)]
    read(api)
    acknowledge(api, made[2])
    late = acknowledge(api, made[0])
    assert (late.status_code, late.data["acknowledged"]) == (200, made[2])
    assert sequences(read(api)) == []
    assert acknowledge(api, made[0], rewind=True).data["acknowledged"] == made[0]
    assert sequences(read(api)) == made[1:]


def test_what_a_consumer_was_not_shown_cannot_be_acknowledged(api, old):
    made = [make_event_at(old).sequence for _ in range(3)]
    read(api, "consumer=erp&page_size=1")
    response = acknowledge(api, made[1])
    assert (response.status_code, response.data["code"]) == (409, "not_shown")
    assert f"read up to {made[0]}" in response.data["detail"]
    # Neither does a look beyond the last event count as shown.
    read(api, f"consumer=erp&after={made[2] + 100}")
    assert acknowledge(api, made[2] + 100, rewind=True).status_code == 409
    assert place() == (0, made[0])


def test_an_event_that_is_not_settled_is_not_shown_and_so_not_acknowledged(api, old):
    settled, young = make_event_at(old), make_event()
    assert sequences(read(api)) == [settled.sequence]
    assert acknowledge(api, young.sequence).status_code == 409


def test_a_consumer_begins_where_it_first_acknowledges(api, old):
    made = [make_event_at(old).sequence for _ in range(2)]
    assert acknowledge(api, made[0]).status_code == 200
    assert sequences(read(api)) == made[1:]
    beyond = post(api, "/events/acknowledge/", {"consumer": "crm", "after": made[1] + 1})
    assert (beyond.status_code, beyond.data["code"]) == (409, "not_shown")
    assert not FeedConsumer.objects.filter(name="crm").exists()


def test_consumers_of_one_name_of_two_users_are_two(api, old):
    event = make_event_at(old)
    other = client_with("view_event", "manage_all_subscriptions")
    read(api)
    acknowledge(api, event.sequence)
    assert sequences(read(other)) == [event.sequence]
    assert FeedConsumer.objects.filter(name="erp").count() == 2


def test_a_consumer_of_a_subscription_reads_its_feed(api, old):
    subscription = make_subscription(topics=["order.paid"], store="berlin")
    wanted = make_event_at(old, store="berlin")
    make_event_at(old, store="paris")
    query = f"consumer=erp&subscription={subscription.public_id}"
    assert sequences(read(api, query)) == [wanted.sequence]
    # Its place means nothing in another feed.
    response = api.get("/api/events/?consumer=erp")
    assert (response.status_code, response.data["code"]) == (409, "other_feed")
    assert f"subscription={subscription.public_id}" in response.data["detail"]
    other = make_subscription()
    assert acknowledge(api, wanted.sequence, subscription=other.public_id).data["code"] == "other_feed"
    assert acknowledge(api, wanted.sequence, subscription=subscription.public_id).status_code == 200
    assert sequences(read(api, query)) == []


def test_the_subscription_of_an_acknowledgement_must_be_visible(old):
    subscription = make_subscription(owner=make_user())
    response = acknowledge(client_with("view_event"), 0, subscription=subscription.public_id)
    assert (response.status_code, list(errors_of(response))) == (422, ["/subscription"])
    assert not FeedConsumer.objects.exists()


@pytest.mark.parametrize("name", ["", "ERP", "-erp", "e r p", "erp\n", "é", "x" * 65])
def test_a_name_is_short_and_in_lower_case(api, name):
    assert "lower-case" in errors_of(api.get("/api/events/", {"consumer": name}))["?consumer"]
    response = post(api, "/events/acknowledge/", {"consumer": name, "after": 0})
    assert (response.status_code, list(errors_of(response))) == (400, ["/consumer"])
    assert not FeedConsumer.objects.exists()


@pytest.mark.parametrize(
    ("member", "value"), [("after", -1), ("after", "1"), ("after", 2**63), ("rewind", "yes"), ("missed", -1), ("at", 1)]
)
def test_an_acknowledgement_is_strict(api, member, value):
    assert list(errors_of(acknowledge(api, **{"after": 0, member: value}))) == [f"/{member}"]


def test_a_user_has_a_bounded_number_of_consumers(api, monkeypatch):
    monkeypatch.setattr("orderhooks.api.consumers.MOST_CONSUMERS", 1)
    make_consumer()  # another user's
    read(api)
    read(api)
    begun = post(api, "/events/acknowledge/", {"consumer": "crm", "after": 0})
    for response in (api.get("/api/events/?consumer=crm"), begun):
        assert (response.status_code, response.data["code"]) == (409, "too_many_consumers")


def test_the_list_shows_how_far_behind_each_is(api, old):
    made = [make_event_at(old + timedelta(minutes=minute)).sequence for minute in range(3)]
    make_failed_event()
    make_event_at(old, topic="webhook.test")
    read(api)
    acknowledge(api, made[0])
    [consumer] = api.get("/api/consumers/").data["results"]
    assert (consumer["name"], consumer["subscription"]) == ("erp", None)
    assert (consumer["events_behind"], consumer["events_behind_is_exact"], consumer["missed"]) == (2, True, 0)
    assert datetime.fromisoformat(consumer["behind_since"]) == Event.objects.get(sequence=made[1]).published_at
    assert consumer["last_read_at"]
    acknowledge(api, made[2])
    [consumer] = api.get("/api/consumers/").data["results"]
    assert (consumer["events_behind"], consumer["behind_since"]) == (0, None)


def test_the_count_of_what_waits_is_bounded(api, old, monkeypatch):
    monkeypatch.setattr("orderhooks.reporting.feed_lag.BOUND", 2)
    for _ in range(3):
        make_event_at(old)
    read(api)
    [consumer] = api.get("/api/consumers/").data["results"]
    assert (consumer["events_behind"], consumer["events_behind_is_exact"]) == (2, False)


def test_a_deleted_consumer_begins_anew(api, old):
    event = make_event_at(old)
    read(api)
    acknowledge(api, event.sequence)
    assert api.delete(f"/api/consumers/{FeedConsumer.objects.get().public_id}/").status_code == 204
    assert sequences(read(api)) == [event.sequence]


# Retention


def prune(cutoff: datetime) -> None:
    while retention.prune(before=cutoffs_at(cutoff)):
        pass


def test_what_retention_deleted_before_it_was_acknowledged_is_a_410(api, old):
    made = [make_event_at(old - timedelta(days=2)).sequence for _ in range(3)]
    kept = make_event_at(old)
    read(api)
    acknowledge(api, made[0])
    prune(old)
    response = api.get("/api/events/?consumer=erp")
    assert (response.status_code, response.data["code"]) == (410, "events_missed")
    assert response.data["detail"].startswith("2 events")
    # It goes on once it has accepted as many as there are.
    assert acknowledge(api, made[0], missed=1).data["code"] == "events_missed"
    assert api.get("/api/events/?consumer=erp").status_code == 410
    assert acknowledge(api, made[0], missed=2).data["missed"] == 0
    assert sequences(read(api)) == [kept.sequence]


def test_an_acknowledgement_alone_does_not_accept_what_was_missed(api, old):
    made = [make_event_at(old - timedelta(days=2)).sequence for _ in range(3)]
    read(api)
    acknowledge(api, made[0])
    prune(old)
    acknowledge(api, made[2])
    assert api.get("/api/events/?consumer=erp").status_code == 410


def test_accepting_what_was_missed_does_not_move_the_place_back(api, old):
    kept = [make_event_at(old).sequence for _ in range(2)]
    read(api)
    acknowledge(api, kept[1])
    FeedConsumer.objects.update(missed=3)
    accepted = acknowledge(api, kept[0], missed=3).data
    assert (accepted["acknowledged"], accepted["missed"]) == (kept[1], 0)


def test_a_consumer_has_missed_nothing_of_what_is_not_in_its_feed(api, old):
    subscription = make_subscription(topics=["order.paid"], store="berlin")
    query = f"consumer=erp&subscription={subscription.public_id}"
    read(api, query)
    long_ago = old - timedelta(days=2)
    make_event_at(long_ago, store="paris")
    make_event_at(long_ago, topic="webhook.test", store="berlin")
    prune(old)
    assert sequences(read(api, query)) == []
    make_event_at(long_ago, store="berlin")
    prune(old)
    assert api.get(f"/api/events/?{query}").status_code == 410


def stores_of(user: Any) -> list[str]:
    if user.email == "broken@example.com":
        raise RuntimeError("the store's own code")
    return ["berlin"]


def test_missed_events_are_those_of_the_users_stores(settings, old, caplog):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.stores_of"}
    limited = make_consumer()
    broken = make_consumer(user=make_user(email="broken@example.com"))
    for store in ("berlin", "paris"):
        make_event_at(old - timedelta(days=2), store=store)
    prune(old)
    missed = dict(FeedConsumer.objects.values_list("pk", "missed"))
    # Where the stores can't be known, too many count.
    assert missed == {limited.pk: 1, broken.pk: 2}
    assert "the stores of a user are not known" in caplog.text
    manager = client_with("view_event", "manage_all_subscriptions")
    shown = {one["events_behind"] for one in manager.get("/api/consumers/").data["results"]}
    assert shown == {0, None}


def test_what_a_consumer_acknowledged_is_not_missed(api, old):
    event = make_event_at(old - timedelta(days=2))
    read(api)
    acknowledge(api, event.sequence)
    prune(old)
    assert sequences(read(api)) == []


def test_an_event_that_is_kept_for_its_delivery_is_not_missed(api, old):
    event = make_event_at(old - timedelta(days=2))
    make_delivery(event=event, state=Delivery.State.PENDING)
    read(api)
    prune(old)
    assert sequences(read(api)) == [event.sequence]


# Races


@pytest.mark.django_db(transaction=True)
def test_of_acknowledgements_side_by_side_the_highest_stays():
    if connection.vendor == "sqlite":
        pytest.skip("one connection writes at a time")
    consumer = make_consumer(read_up_to=50)
    barrier = threading.Barrier(5)

    def move(first: int) -> None:
        barrier.wait()
        for after in range(first, 51, 5):
            FeedConsumer.objects.filter(pk=consumer.pk).acknowledge(
                after, rewind=False, missed=None, now=timezone.now()
            )
            reached.append((after, FeedConsumer.objects.get(pk=consumer.pk).acknowledged))
        connection.close()

    reached: list[tuple[int, int]] = []
    threads = [threading.Thread(target=move, args=(first,)) for first in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reached) == 50
    assert all(found >= after for after, found in reached)
    assert FeedConsumer.objects.get(pk=consumer.pk).acknowledged == 50


def test_two_that_begin_a_consumer_get_the_same(monkeypatch):
    user = make_user()
    first = FeedConsumer.objects.begin(user=user, name="erp", subscription=None)
    # As if the other had been made after this one had looked.
    monkeypatch.setattr("orderhooks.models.feed_consumers.FeedConsumerQuerySet.first", lambda _rows: None)
    assert FeedConsumer.objects.begin(user=user, name="erp", subscription=None, after=7) == first
