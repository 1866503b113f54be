"""Merging: updates that were made in different versions of the body."""

import pytest

from orderhooks import routing
from orderhooks.models import Event
from tests import versioned
from tests.factories import make_event, make_subscription
from tests.test_merging import at, sent, state
from tests.versioned import FIRST, RENAMED

pytestmark = pytest.mark.django_db(transaction=True)


def update(field: str, old: str, new: str, version: str) -> Event:
    changes = {field: [old, new]}
    payload = {"order": {"number": "1001"}, "changes": changes}
    return make_event(
        topic="order.updated", changes=changes, payload=payload, routed_at=None, api_version=version, order_pk="1"
    )


@pytest.mark.parametrize("in_one_batch", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_an_update_in_another_version_sends_the_one_that_waits(settings, in_one_batch: bool, ordered: bool) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {RENAMED: versioned.API_VERSIONS[RENAMED]}}
    make_subscription(topics=["*"], update_interval_seconds=60, ordered=ordered, api_version=RENAMED)
    update("note", "1", "2", FIRST)
    routing.route(now=at(0))
    assert len(sent(0)) == 1
    events = []
    for field, old, new, version in (
        ("note", "2", "3", FIRST),
        ("note", "3", "4", FIRST),
        ("customer_note", "4", "5", RENAMED),
        ("customer_note", "5", "6", RENAMED),
    ):
        events.append(update(field, old, new, version))
        if not in_one_batch:
            routing.route(now=at(5))
    routing.route(now=at(5))
    assert sent(5) == [("order.updated", events[1].pk, {"note": ["2", "4"]})]
    assert [state(one) for one in events] == ["merged", "delivered", "merged", "pending"]
    assert sent(64) == []
    assert sent(65) == [("order.updated", events[3].pk, {"customer_note": ["4", "6"]})]
