"""The log's queries: by time, by the response's class, and what waits for what in an ordered subscription."""

from datetime import UTC, datetime, timedelta

import pytest

from orderhooks.db import public_ids
from orderhooks.models import Delivery
from tests.factories import make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def made_at(moment: datetime, **fields) -> Delivery:
    return make_delivery(public_id=public_ids.earliest_at("dlv_", moment)[:-1] + "7", **fields)


def test_deliveries_since_a_time_are_found_by_their_public_ids():
    made_at(NOON - timedelta(milliseconds=1))
    at, after = made_at(NOON), made_at(NOON + timedelta(days=1))
    assert set(Delivery.objects.since(NOON)) == {at, after}
    assert not Delivery.objects.since(NOON + timedelta(days=2)).exists()


def test_deliveries_that_workers_made_side_by_side_are_all_found():
    later, at = made_at(NOON + timedelta(seconds=1)), made_at(NOON)
    assert set(Delivery.objects.since(NOON)) == {at, later}


def test_times_before_1970_are_before_every_id():
    delivery = make_delivery()
    assert list(Delivery.objects.since(datetime(1, 1, 2, tzinfo=UTC))) == [delivery]


@pytest.mark.parametrize(
    ("status_class", "expected"), [(2, {"well"}), (3, {"moved"}), (4, {"gone"}), (5, {"busy"}), (0, {"away", "cut"})]
)
def test_deliveries_are_found_by_the_class_of_their_last_response(status_class, expected):
    make_delivery()
    rows = {
        "well": make_delivery(state="delivered", last_status_code=204),
        "moved": make_delivery(last_status_code=301, last_error="status"),
        "gone": make_delivery(state="failed", last_status_code=499, last_error="status"),
        "busy": make_delivery(last_status_code=500, last_error="status"),
        "away": make_delivery(state="failed", last_error="dns"),
        "cut": make_delivery(state="failed", last_status_code=200, last_error="too_large"),
    }
    assert set(Delivery.objects.answered(status_class)) == {rows[name] for name in expected}


def test_what_waits_for_what_is_of_one_order_and_one_ordered_subscription():
    ordered, other = make_subscription(ordered=True), make_subscription(ordered=True)
    events = [make_event(order_pk="7") for _ in range(4)]
    done, failed, waits, waits_too = (
        make_delivery(event=event, subscription=ordered, state=state)
        for event, state in zip(events, ("delivered", "failed", "pending", "pending"), strict=True)
    )
    make_delivery(event=make_event(order_pk="8"), subscription=ordered)
    elsewhere = make_delivery(event=events[3], subscription=other)
    assert list(waits_too.blockers()) == [failed, waits]
    assert list(failed.held_up()) == [waits, waits_too]
    assert not done.held_up().exists()
    assert not elsewhere.blockers().exists()
    Delivery.objects.filter(pk=waits_too.pk).update(
        state="sending", lease_token="00000000-0000-4000-8000-000000000000", lease_expires_at=NOON
    )
    assert list(waits.blockers()) == [failed, waits_too]
    ordered.ordered = False
    assert not waits_too.blockers().exists()
    assert not failed.held_up().exists()
