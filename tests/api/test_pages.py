"""Pages: to the end and back, no primary keys, the same cost however long."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.calls import errors_of, ids
from tests.factories import make_attempt, make_delivery, make_event, make_order, make_replay

pytestmark = pytest.mark.django_db


def test_pages_follow_each_other_to_the_end_and_back(api):
    made = [make_event().public_id for _ in range(5)][::-1]
    first = api.get("/api/events/?page_size=2")
    second = api.get(first.data["next"])
    third = api.get(second.data["next"])
    assert [*ids(first), *ids(second), *ids(third)] == made
    assert third.data["next"] is None
    assert ids(api.get(third.data["previous"])) == ids(second)


def test_a_cursor_does_not_show_the_primary_key(api):
    events = [make_event(sequence=sequence) for sequence in (987654321, 987654322, 987654323)]
    link = api.get("/api/events/?page_size=1").data["next"]
    cursor = parse_qs(urlsplit(link).query)["cursor"][0]
    opened = base64.b64decode(cursor)
    assert not any(str(event.pk).encode() in opened for event in events)


@pytest.mark.parametrize("cursor", ["x", base64.b64encode(b"p=1").decode(), base64.b64encode(b"p=%00").decode()])
def test_a_forged_cursor_is_a_400(api, cursor):
    make_event()
    assert "Start again" in errors_of(api.get("/api/events/", {"cursor": cursor}))["?cursor"]


@pytest.mark.parametrize("size", ["0", "201", "1000000", "-1", "+5", "x", "", "5.0"])
def test_a_page_has_a_largest_size_and_a_least(api, size):
    for _ in range(3):
        make_event()
    response = api.get("/api/events/", {"page_size": size})
    assert errors_of(response) == {"?page_size": "Send an integer from 1 to 200."}
    assert len(ids(api.get("/api/events/?page_size=200"))) == 3


def test_a_list_is_read_from_its_other_end(api):
    first, second = make_event().public_id, make_event().public_id
    assert ids(api.get("/api/events/?ordering=sequence")) == [first, second]
    assert ids(api.get("/api/events/?ordering=-sequence")) == [second, first]
    assert errors_of(api.get("/api/events/?ordering=payload")) == {"?ordering": "Send one of: -sequence, sequence."}
    assert ids(api.get("/api/deliveries/?ordering=created_at")) == []


@pytest.mark.parametrize(
    "path", ["orders", "subscriptions", "deliveries", "events", "events/?after=0", "replays", "topics", "stats"]
)
def test_a_list_takes_the_same_queries_however_long(api, path):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(f"/api/{path}" if "?" in path else f"/api/{path}/").status_code == 200
        return len(captured)

    def grow() -> None:
        make_order(lines=[{}, {"sku": "B"}])
        make_attempt(make_delivery())
        make_replay()

    grow()
    queries()  # the content types and the like are cached by now
    few = queries()
    for _ in range(5):
        grow()
    assert queries() == few
