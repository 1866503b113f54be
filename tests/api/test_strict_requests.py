"""What a request must not hold: unknown members, numbers out of bounds, texts that can't be stored."""

import json

import pytest
from django.contrib.admin.models import LogEntry

from orderhooks.models import Delivery
from tests.api.calls import errors_of, patch, post
from tests.factories import make_backfill, make_delivery, make_failed_event, make_order, make_replay, make_subscription

pytestmark = pytest.mark.django_db
PLAN = {"since": "2026-01-01T00:00:00Z", "dry_run": True}
ENDPOINT = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["*"]}
SURROGATE, NUL = chr(0xD800), chr(0)

# Method, path, a body that is taken, the name to mistype, and what is meant.
BODIES = [
    ("post", "/subscriptions/", ENDPOINT, "max_per_secnd", "max_per_second"),
    ("put", "/subscriptions/{subscription}/", ENDPOINT, "max_per_secnd", "max_per_second"),
    ("patch", "/subscriptions/{subscription}/", {}, "ulr", "url"),
    ("put", "/subscriptions/by-name/CRM/", {**ENDPOINT}, "orderd", "ordered"),
    ("post", "/subscriptions/{subscription}/rotate-secret/", {}, "overlap_hour", "overlap_hours"),
    ("post", "/subscriptions/{subscription}/resume/", {}, "skip_befor", "skip_before"),
    ("post", "/subscriptions/{subscription}/replay/", PLAN, "topic", "topics"),
    ("post", "/subscriptions/{subscription}/test/", {}, "order", ""),
    ("post", "/subscriptions/{subscription}/pause/", {}, "until", ""),
    ("post", "/subscriptions/{subscription}/revoke-former-secrets/", {}, "all", ""),
    ("post", "/orders/", {}, "note_", "note"),
    ("put", "/orders/{order}/", {}, "stats", "status"),
    ("patch", "/orders/{order}/", {}, "custmer_email", "customer_email"),
    ("post", "/replays/", {**PLAN, "subscription": "{subscription}"}, "dryrun", "dry_run"),
    ("post", "/replays/{replay}/cancel/", {}, "now", ""),
    ("post", "/subscriptions/{subscription}/backfill/", {}, "topics", "topic"),
    ("post", "/backfills/", {"subscription": "{subscription}"}, "rates", "rate"),
    ("post", "/backfills/{backfill}/cancel/", {}, "now", ""),
    ("post", "/deliveries/{delivery}/redeliver/", {}, "now", ""),
    ("post", "/deliveries/{delivery}/skip/", {}, "now", ""),
    ("post", "/deliveries/redeliver/", {"deliveries": ["{delivery}"]}, "delivery", "deliveries"),
    ("post", "/deliveries/skip/", {"deliveries": ["{delivery}"]}, "delivery", "deliveries"),
    ("post", "/events/{event}/republish/", {}, "now", ""),
]


@pytest.mark.parametrize(("method", "path", "body", "name", "meant"), BODIES)
def test_an_unknown_member_is_named_and_nothing_is_done(api, method, path, body, name, meant):
    delivery = make_delivery(state=Delivery.State.FAILED)
    ids = {
        "subscription": make_subscription(name="CRM").public_id,
        "order": make_order().public_id,
        "replay": make_replay().public_id,
        "backfill": make_backfill().public_id,
        "delivery": delivery.public_id,
        "event": make_failed_event().public_id,
    }
    sent = json.loads(json.dumps({**body, name: "x"}).replace("{subscription}", ids["subscription"]))

    response = getattr(api, method)(f"/api{path.format(**ids)}", sent, format="json")

    assert response.status_code == 400
    assert (f"Did you mean {meant}?" if meant else "Known members: none.") in errors_of(response)[f"/{name}"]
    assert not LogEntry.objects.exists()


def test_an_unknown_member_of_a_line_is_named_with_its_place(api):
    line = {"sku": "TEA-1", "name": "Tea", "quantity": 1}

    response = post(api, "/orders/", {"lines": [line, {**line, "unitprice": "1.00"}]})

    assert response.status_code == 400
    assert "Did you mean unit_price?" in errors_of(response)["/lines/1/unitprice"]


@pytest.mark.parametrize("path", ["/orders/{order}/", "/subscriptions/{subscription}/"])
def test_what_was_read_can_be_sent_back(api, path):
    subscription = make_subscription(url="https://crm.example/hooks")
    url = f"/api{path}".format(order=make_order().public_id, subscription=subscription.public_id)

    assert api.put(url, api.get(url).json(), format="json").status_code == 200


LISTS = ("orders", "events", "subscriptions", "deliveries", "replays", "backfills")
# A query parameter with its bounds.
NUMBERS = [
    ("/stats/", "hours", 1, 744),
    ("/subscriptions/{subscription}/stats/", "hours", 1, 744),
    ("/events/", "after", 0, 2**63 - 1),
    ("/subscriptions/{subscription}/missed/", "page_size", 1, 200),
    ("/deliveries/{delivery}/attempts/", "page_size", 1, 200),
    *((f"/{name}/", "page_size", 1, 200) for name in LISTS),
]


@pytest.mark.parametrize(("path", "name", "lowest", "highest"), NUMBERS)
def test_a_number_is_bounded_however_it_is_spelled(api, path, name, lowest, highest):
    url = f"/api{path}".format(subscription=make_subscription().public_id, delivery=make_delivery().public_id)

    for text in (str(lowest), f"000{lowest}", str(highest), f"{'0' * 5000}{highest}"):
        assert api.get(url, {name: text}).status_code == 200, text[:20]
    wrong = [str(highest + 1), "0000500000" + "0" * 15, "00001" + "0" * 30, "9" * 5000, "", " 1"]
    for text in [*wrong, "-1", "+1", "1.0", "1e1", "x"]:
        response = api.get(url, {name: text})
        assert response.status_code == 400, text[:20]
        assert errors_of(response)[f"?{name}"]


@pytest.mark.parametrize("bad", [NUL, SURROGATE])
@pytest.mark.parametrize("shape", ["name", "value", "inner name", "inner value"])
@pytest.mark.parametrize("path", ["/orders/", "/subscriptions/", "/replays/", "/backfills/", "/deliveries/skip/"])
def test_texts_that_can_not_be_stored_are_a_400_in_names_and_values(api, bad, shape, path):
    body = {
        "name": {bad: 1},
        "value": {"note": bad},
        "inner name": {"metadata": {"a": [{bad: 1}]}},
        "inner value": {"metadata": {"a": [[bad]]}},
    }[shape]

    # As ASCII: the client of the tests can't write a lone surrogate otherwise.
    response = api.post(f"/api{path}", json.dumps(body), content_type="application/json")

    assert response.status_code == 400
    assert bad not in response.content.decode()


@pytest.mark.parametrize("name", [NUL, SURROGATE, "a note for whoever reads the history"])
def test_no_name_of_a_clients_choosing_comes_into_the_history(api, name):
    order = make_order()

    unknown = json.dumps({name: 1, "note": "x"})
    url = f"/api/orders/{order.public_id}/"

    assert api.patch(url, unknown, content_type="application/json").status_code == 400
    assert patch(api, f"/orders/{order.public_id}/", {"note": "x", "public_id": "y"}).status_code == 200

    [entry] = LogEntry.objects.all()
    assert entry.change_message == "By the API: Changed note."


ADDRESSES = [
    "/orders/?number=%00",
    "/orders/?%00=1",
    "/orders/a%00/",
    "/events/?after=0&subscription=%00",
    "/topics/a%00/",
    "/stats/?hours=%00",
    "/subscriptions/by-name/a%00/",
    "/subscriptions/{subscription}/preview/?order=%00&topic=order.paid",
]


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_nul_in_an_address_is_a_400(api, path):
    url = f"/api{path}".format(subscription=make_subscription().public_id)

    assert api.get(url).status_code == 400


def test_of_many_unknown_members_some_are_named(api):
    response = api.post("/api/orders/", {f"statuz{number}": 1 for number in range(5000)}, format="json")

    assert response.status_code == 400
    assert len(errors_of(response)) == 20
    assert len(response.content) < 20_000


LONG_LISTS = [
    pytest.param("/deliveries/redeliver/", {"deliveries": [1] * 1001}, id="deliveries"),
    pytest.param("/subscriptions/", {"topics": [1] * 1001}, id="topics"),
    pytest.param("/subscriptions/", {"topics": ["*"], "changed_fields": [1] * 1001}, id="changed fields"),
    pytest.param("/subscriptions/", {"topics": ["*"], "headers": {f"X-{n}": 1 for n in range(1001)}}, id="headers"),
    pytest.param("/orders/", {"lines": [1] * 1001}, id="lines"),
]


@pytest.mark.parametrize(("path", "body"), LONG_LISTS)
def test_a_list_that_is_too_long_gets_one_error_and_none_for_its_items(api, path, body):
    name = next(name for name in reversed(body))
    refused = post(api, path, body)
    assert refused.status_code in (400, 422)
    about = [one for one in refused.json()["errors"] if one["pointer"].startswith(f"/{name}")]
    assert [one["pointer"] for one in about] == [f"/{name}"]
    assert len(refused.content) < 2000


def test_no_cache_keeps_what_the_api_responds(api):
    order, subscription = make_order(), make_subscription()
    kept = {"private", "no-store"}
    for path in ("/api/orders/", f"/api/subscriptions/{subscription.public_id}/", "/api/events/", "/api/replays/"):
        assert set(api.get(path)["Cache-Control"].split(", ")) == kept, path
    made = post(api, "/subscriptions/", {"name": "ERP", "url": "https://erp.example.com/", "topics": ["*"]})
    assert (made.status_code, set(made["Cache-Control"].split(", "))) == (201, kept)
    # Whoever has its ETag may keep it, and asks each time.
    assert api.get(f"/api/orders/{order.public_id}/")["Cache-Control"] == "private, no-cache"
