"""`wait`: a request of the feed waits for something to read, for a bounded time, with no transaction open."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orderhooks.api import waiting
from orderhooks.db import public_ids
from orderhooks.models import FeedConsumer
from tests.api.calls import EVERYTHING, client_with, errors_of, post
from tests.factories import make_event, make_event_at, make_failed_event, make_subscription

# Waiting ends at once inside a transaction.
pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """A clock that only waiting moves. `at_each` is called each time that a request goes to sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps = 0
        self.at_each: Callable[[int], Any] = lambda _nap: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        self.at_each(self.naps)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "sleep", clock.sleep)
    monkeypatch.setattr(waiting, "monotonic", lambda: clock.now)
    return clock


def old_event(**fields: Any) -> Any:
    return make_event_at(timezone.now() - timedelta(minutes=5), **fields)


def sequences(response: Any) -> list[int]:
    assert response.status_code == 200, response.data
    return [one["sequence"] for one in response.data["results"]]


@pytest.mark.parametrize("query", ["after=0", "consumer=erp"])
def test_what_is_there_is_returned_at_once(api, clock, query):
    event = old_event()
    assert sequences(api.get(f"/api/events/?{query}&wait=30")) == [event.sequence]
    assert clock.naps == 0


def test_without_wait_an_empty_page_is_returned_at_once(api, clock):
    assert sequences(api.get("/api/events/?after=0")) == []
    assert clock.naps == 0


def test_a_request_returns_as_soon_as_an_event_can_be_read(api, clock):
    acknowledged = old_event().sequence
    post(api, "/events/acknowledge/", {"consumer": "erp", "after": acknowledged})
    made: list[int] = []
    clock.at_each = lambda nap: made.append(old_event().sequence) if nap == 3 else None
    response = api.get("/api/events/?consumer=erp&wait=30")
    assert sequences(response) == made
    assert (clock.naps, response.data["after"]) == (3, made[0])
    assert FeedConsumer.objects.get().read_up_to == made[0]


def test_a_request_ends_with_an_empty_page_when_its_time_is_up(api, clock):
    response = api.get("/api/events/?after=7&wait=3")
    assert (sequences(response), response.data["after"], response.data["next"]) == ([], 7, None)
    assert clock.now == 3


def test_an_event_is_not_returned_before_it_is_settled(api, clock):
    clock.at_each = lambda nap: make_event() if nap == 1 else None
    assert sequences(api.get("/api/events/?after=0&wait=5")) == []
    assert clock.now == 5


def test_a_request_goes_on_waiting_after_what_it_does_not_show(api, clock):
    subscription = make_subscription(filter="data.order.number == '2002'")
    made = []

    def publish(nap: int) -> None:
        if nap == 1:
            make_failed_event(public_id=public_ids.earliest_at("evt_", timezone.now() - timedelta(minutes=5)))
        if nap == 2:
            old_event()  # its filter leaves it out
        if nap == 4:
            made.append(old_event(payload={"order": {"number": "2002"}, "changes": {}}).sequence)

    clock.at_each = publish
    assert sequences(api.get(f"/api/events/?after=0&subscription={subscription.public_id}&wait=30")) == made
    assert clock.naps == 4


@pytest.mark.parametrize("is_atomic", [False, True])
def test_no_transaction_is_open_while_a_request_waits(clock, is_atomic):
    connection.settings_dict["ATOMIC_REQUESTS"] = is_atomic
    open_ones = []
    clock.at_each = lambda _nap: open_ones.append(connection.in_atomic_block)
    try:
        client_with(*EVERYTHING).get("/api/events/?consumer=erp&wait=1")
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert open_ones == [False, False]


def test_inside_a_transaction_nothing_waits(api, clock):
    with transaction.atomic():
        assert sequences(api.get("/api/events/?after=0&wait=30")) == []
    assert clock.naps == 0


def test_more_requests_than_the_setting_allows_are_a_503(api, clock, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FEED_WAITERS": 1}
    refused = []
    clock.at_each = lambda nap: refused.append(api.get("/api/events/?after=0&wait=1")) if nap == 1 else None
    assert api.get("/api/events/?after=0&wait=1").status_code == 200
    [second] = refused
    assert (second.status_code, second.data["code"], second["Retry-After"]) == (503, "too_many_waiters", "5")
    # Its place is free again.
    assert api.get("/api/events/?after=0&wait=1").status_code == 200


def test_one_user_has_at_most_half_of_the_places(api, clock, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FEED_WAITERS": 4}
    clients = {"one": api, "other": client_with(*EVERYTHING)}
    users = iter(["one", "one", "other", "other"])
    statuses: list[tuple[str, int]] = []

    def begin_next(_nap: int) -> None:
        if user := next(users, None):
            statuses.append((user, clients[user].get("/api/events/?after=0&wait=1").status_code))

    clock.at_each = begin_next
    assert api.get("/api/events/?after=0&wait=1").status_code == 200
    # The first user's third request is refused; both of the other's wait.
    assert sorted(statuses) == [("one", 200), ("one", 503), ("other", 200), ("other", 200)]
    assert not waiting._waiting


def test_a_place_is_free_again_after_an_error(api, clock, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FEED_WAITERS": 1}
    clock.at_each = lambda nap: 1 / 0 if nap == 1 else None
    with pytest.raises(ZeroDivisionError):
        api.get("/api/events/?after=0&wait=1")
    assert api.get("/api/events/?after=0&wait=1").status_code == 200


def test_where_none_may_wait_the_problem_says_so(api, clock, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FEED_WAITERS": 0}
    response = api.get("/api/events/?after=0&wait=1")
    assert response.status_code == 503
    assert "FEED_WAITERS is 0" in response.data["detail"]
    event = old_event()
    assert sequences(api.get("/api/events/?after=0&wait=1")) == [event.sequence]


@pytest.mark.parametrize("wait", ["-1", "31", "x", "1.5", ""])
def test_the_time_is_bounded(api, wait):
    assert "0 to 30" in errors_of(api.get("/api/events/", {"after": 0, "wait": wait}))["?wait"]


def test_the_log_does_not_wait(api):
    assert "consumer" in errors_of(api.get("/api/events/?wait=1"))["?wait"]
