"""`orderhooks.testing` where workers make the events, and none runs."""

from typing import Any

import pytest
from django.db import transaction

from orderhooks.testing import capture, deliver_now
from tests.factories import make_order, make_subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.by_hand


@pytest.fixture(autouse=True)
def _in_worker(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}


@pytest.mark.django_db(transaction=True)
def test_events_that_are_left_to_workers_are_shown_without_one() -> None:
    make_subscription()
    order = make_order(lines=[])
    with capture() as told:
        order.payment_status = "paid"
        order.save()
        assert told.topics == ["order.updated", "order.paid"]
        with transaction.atomic():
            order.status = "closed"
            order.save()
            assert told.topics[2:] == ["order.updated", "order.closed"]


@pytest.mark.django_db
def test_events_of_hooks_that_a_test_calls_are_shown(django_capture_on_commit_callbacks: Any) -> None:
    with capture() as told:
        with django_capture_on_commit_callbacks(execute=True):
            make_order(lines=[])
        assert told.topics == ["order.created"]


@pytest.mark.django_db(transaction=True)
def test_what_is_left_to_workers_is_sent(receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order(lines=[])
    assert [attempt.status_code for attempt in deliver_now()] == [200]
    assert receiver.topics == ["order.created"]
