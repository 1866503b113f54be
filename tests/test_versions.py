"""Versions of the body: each subscription gets the one that it is pinned to, down to the byte."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.utils import timezone

from orderhooks import (
    catalogue,
    matching,
    operations,
    payloads,
    publishing,
    routing,
    sending,
    shaping,
    sources,
    versions,
)
from orderhooks.matching import Mismatch
from orderhooks.models import Delivery, Event, Order, Subscription
from orderhooks.receiver import verify
from orderhooks.versions import VersionError
from tests import versioned
from tests.factories import make_delivery, make_event, make_order, make_subscription, send_due
from tests.versioned import FIRST, NESTED, RENAMED

pytestmark = pytest.mark.django_db(transaction=True)

GOLDEN = Path(__file__).parent / "golden" / "versions"
AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.fixture
def three_versions(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}


def only(settings: Any, to_previous: str) -> None:
    """A store with one newer version."""
    entry = {"to_previous": to_previous, "description": "Something is new."}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {RENAMED: entry}}


def paid_event() -> Event:
    """An event, not saved, of an order whose values and keys are always the same."""
    order = make_order(
        lines=[{"id": 7, "fulfilled_quantity": 1}],
        public_id="ord_01KAR58K00W5QZ4N3XJ7T2M9CE",
        number="1001",
        payment_status="paid",
        currency="EUR",
        subtotal="19.90",
        shipping="4.90",
        total="24.80",
        customer_name="Zoë Byron",
        customer_email="zoe@example.com",
        shipping_address={"city": "Köln"},
        note="Ring twice.",
        metadata={"channel": "web"},
        placed_at=AT,
    )
    Order.objects.filter(pk=order.pk).update(created_at=AT, updated_at=AT, paid_at=AT)
    order = Order.objects.get(pk=order.pk)
    [source] = sources.configured().values()
    return Event(
        public_id="evt_01KAR5BBR0D4Y8H6S1V3PBN2WK",
        sequence=812,
        topic="order.paid",
        source=source.name,
        payload={"order": source.payload(order), "changes": {"payment_status": ["pending", "paid"]}},
        occurred_at=AT,
    )


def example_event() -> Event:
    """An event with the example of the order source."""
    [source] = sources.configured().values()
    return make_event(payload=catalogue.example("order.paid", source)["data"])


def compare_with_golden(version: str) -> None:
    shaped = shaping.shape(paid_event(), Subscription(api_version=version))
    assert shaped.body == (GOLDEN / f"{version}.json").read_bytes(), "A body that receivers rely on has changed."


@pytest.mark.parametrize("version", [FIRST, RENAMED, NESTED])
def test_each_version_keeps_its_bytes(three_versions, version: str) -> None:
    compare_with_golden(version)


def test_a_store_without_versions_of_its_own_sends_the_bytes_of_the_first() -> None:
    compare_with_golden(FIRST)


def test_the_golden_files_differ_as_the_versions_do() -> None:
    orders = {name: json.loads((GOLDEN / f"{name}.json").read_bytes()) for name in (FIRST, RENAMED, NESTED)}
    assert [body["api_version"] for body in orders.values()] == [FIRST, RENAMED, NESTED]
    assert [body["data"]["order"].get("note") for body in orders.values()] == ["Ring twice.", None, None]
    assert [body["data"]["order"]["total"] for body in orders.values()] == [
        "24.80",
        "24.80",
        {"amount": "24.80", "currency": "EUR"},
    ]


def test_subscriptions_get_the_version_that_they_were_made_with(receiver, settings) -> None:
    old = Subscription.create_with_secret(name="old", url=receiver.url, topics=["order.created"])[0]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    new = Subscription.create_with_secret(name="new", url=receiver.url, topics=["order.created"])[0]
    assert (old.api_version, new.api_version) == (FIRST, NESTED)
    assert (old.is_behind, new.is_behind) == (True, False)
    assert list(Subscription.objects.behind()) == [old]
    make_order(note="Ring twice.", currency="EUR", total="24.80")
    routing.route(now=timezone.now())
    send_due()
    bodies = {got.event["api_version"]: got.event["data"]["order"] for got in receiver.received}
    assert (bodies[FIRST]["note"], bodies[FIRST]["total"]) == ("Ring twice.", "24.80")
    assert bodies[NESTED]["customer_note"] == "Ring twice."
    assert bodies[NESTED]["total"] == {"amount": "24.80", "currency": "EUR"}


def test_an_event_that_was_made_before_a_version_keeps_its_own(settings) -> None:
    event = paid_event()
    before = shaping.shape(event, Subscription()).body
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    for version in (FIRST, RENAMED, NESTED):
        assert shaping.shape(event, Subscription(api_version=version)).body == before


def test_a_payload_that_is_built_later_has_the_version_of_then(settings) -> None:
    make_subscription()
    order = make_order()
    event = Event.objects.filter(topic="order.created").get()
    Event.objects.filter(pk=event.pk).update(payload=None, published_at=None, routed_at=None, error="ValueError: no")
    event.refresh_from_db()
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    assert publishing.republish(event)
    assert (event.api_version, "customer_note" in str(event.payload)) == (NESTED, True)
    assert order.pk


def test_the_event_stays_as_it_is_whatever_a_conversion_does(three_versions) -> None:
    event = paid_event()
    before = deepcopy(event.payload)
    shaping.shape(event, Subscription(api_version=FIRST))
    assert event.payload == before


def test_nothing_is_copied_where_nothing_is_converted(three_versions) -> None:
    body = payloads.envelope(paid_event())
    assert versions.convert(body, NESTED) is body
    assert versions.convert(body, RENAMED) is not body


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", "raised KeyError: 'no_such_field' on this event"),
        ("raises_with_values", "raised ValueError on this event, see the log. Fix the function."),
        ("returns_nothing", "returned NoneType. Have it return the body"),
        ("changes_the_id", "changed `id` or `type`"),
        ("drops_the_data", "left no object in `data`"),
        ("returns_a_set", "can't be sent"),
        ("gone", "can't be imported (ImportError)"),
    ],
)
def test_a_conversion_that_fails_holds_its_delivery_and_no_other(receiver, settings, function, words) -> None:
    only(settings, f"tests.versioned.{function}")
    event = make_event(payload={"order": {"number": "1", "customer": {"email": "zoe@example.com"}}, "changes": {}})
    held = make_delivery(event=event, subscription=make_subscription(url=receiver.url, api_version=FIRST))
    other = make_delivery(event=event, subscription=make_subscription(url=receiver.url, api_version=RENAMED))
    send_due()
    held.refresh_from_db()
    other.refresh_from_db()
    assert (held.state, held.last_error, other.state) == ("pending", "version", "delivered")
    assert words in held.last_detail
    assert "zoe" not in held.last_detail
    held.subscription.refresh_from_db()
    assert held.subscription.consecutive_failures == 0, "the endpoint is not to blame"


def test_it_goes_out_once_the_function_is_fixed(receiver, settings) -> None:
    only(settings, "tests.versioned.raises")
    event = make_event(payload={"order": {"customer_note": "x"}, "changes": {}})
    held = make_delivery(event=event, subscription=make_subscription(url=receiver.url, api_version=FIRST))
    send_due()
    only(settings, "tests.versioned.with_the_former_name")
    operations.redeliver(Delivery.objects.filter(pk=held.pk))
    send_due()
    assert [got.event["data"]["order"] for got in receiver.received] == [{"note": "x"}]


def test_a_version_that_is_gone_holds_the_delivery(receiver, settings) -> None:
    held = make_delivery(subscription=make_subscription(url=receiver.url, api_version=RENAMED))
    send_due()
    held.refresh_from_db()
    assert (held.state, held.last_error, receiver.received) == ("pending", "version", [])
    assert "'2027-01-15' of the body is not registered. Choose one of 2026-11-01" in held.last_detail


def test_the_end_of_a_version_is_announced_in_headers(receiver, three_versions) -> None:
    for version in (FIRST, RENAMED, NESTED):
        subscription = make_subscription(url=receiver.url, name=version, api_version=version)
        make_delivery(event=example_event(), subscription=subscription)
    send_due()
    found = {got.headers["deprecation"]: (got.headers["sunset"], got.headers["link"]) for got in receiver.received}
    link = '<https://shop.example.com/webhooks/versions>; rel="deprecation"; type="text/html"'
    assert found == {
        "@1801440000": ("Tue, 01 Feb 2028 00:00:00 GMT", link),
        "@1814400000": (None, None),
        None: (None, None),
    }
    delivery = Delivery.objects.get(subscription__name=FIRST)
    assert delivery.attempts.get().request_headers["deprecation"] == "@1801440000"
    assert "sunset: Tue, 01 Feb 2028 00:00:00 GMT" in sending.curl_script(delivery)


def test_the_receiver_kit_reads_them(three_versions, receiver) -> None:
    subscription = make_subscription(url=receiver.url, api_version=FIRST)
    make_delivery(event=example_event(), subscription=subscription)
    send_due()
    [got] = receiver.received
    event = verify(got.body, dict(got.headers), subscription.new_secret)
    assert event.api_version == FIRST
    assert event.deprecated_at == datetime(2027, 2, 1, tzinfo=UTC)
    assert event.sunset_at == datetime(2028, 2, 1, tzinfo=UTC)
    spoilt = {**dict(got.headers), "deprecation": "@9" * 40, "sunset": "soon"}
    event = verify(got.body, spoilt, subscription.new_secret)
    assert (event.deprecated_at, event.sunset_at) == (None, None)


def test_filters_and_projections_read_the_version_that_is_sent(three_versions) -> None:
    loud = "data.order.note == 'Ring twice.'"
    event = paid_event()
    Event.objects.all().delete()
    event.api_version = NESTED
    old = Subscription(topics=["*"], api_version=FIRST, filter=loud, projection="{n: data.order.note}", created_at=AT)
    new = Subscription(topics=["*"], api_version=NESTED, filter=loud, created_at=AT)
    matcher = matching.Matcher()
    assert matcher.judge(event, old).is_wanted
    assert matcher.judge(event, new).mismatch is Mismatch.FILTERED
    assert json.loads(shaping.shape(event, old).body)["data"] == {"n": "Ring twice."}


def test_an_event_that_cannot_be_converted_for_a_filter_is_held(settings) -> None:
    only(settings, "tests.versioned.raises")
    subscription = make_subscription(api_version=FIRST, filter="data.order.number == '1001'")
    make_event(routed_at=None)
    routing.route(now=timezone.now())
    held = Delivery.objects.get(subscription=subscription)
    assert (held.state, held.last_error) == ("pending", "version")
    assert "Fix the function." in held.last_detail


def test_expressions_are_checked_against_the_version(three_versions) -> None:
    fields: dict[str, Any] = {"name": "w", "url": "http://127.0.0.1:8/", "topics": ["order.paid"]}
    old = Subscription.objects.create(**fields, api_version=FIRST, projection="{note: data.order.note}")
    with pytest.raises(ValidationError) as raised:
        operations.reconfigure(old, {"api_version": NESTED})
    assert list(raised.value.message_dict) == ["projection"]
    operations.reconfigure(
        Subscription.objects.get(pk=old.pk),
        {"api_version": NESTED, "projection": "{note: data.order.customer_note}"},
    )
    with pytest.raises(ValidationError, match="there is no field 'note'"):
        Subscription.objects.create(**fields, filter="data.order.note == 'x'")


def test_only_a_registered_version_can_be_chosen(three_versions) -> None:
    fields: dict[str, Any] = {"name": "w", "url": "http://127.0.0.1:8/", "topics": ["*"]}
    with pytest.raises(ValidationError, match="of the body is not registered"):
        Subscription.objects.create(**fields, api_version="2027-01-16")
    gone = make_subscription(api_version="2027-01-16")
    gone.name = "renamed"
    gone.save()  # what is stored does not bar other changes


def test_examples_and_schemas_are_of_the_newest_version(three_versions) -> None:
    entry = catalogue.entry("order.paid")
    assert (entry.example["api_version"], "customer_note" in entry.example["data"]["order"]) == (NESTED, True)
    assert entry.schema["properties"]["api_version"] == {"const": NESTED}
    first = catalogue.entry("order.paid", version=FIRST).example
    assert (first["api_version"], "note" in first["data"]["order"]) == (FIRST, True)
    with pytest.raises(VersionError):
        catalogue.entry("order.paid", version="2020-01-01")


NEW = {"to_previous": "tests.versioned.with_the_former_name", "description": "New."}
FAULTS: list[tuple[Any, str]] = [
    (["2027-01-15"], "Give a dict"),
    ({"v2": NEW}, "'v2' is not a valid version. A version is a date"),
    ({"2027-02-30": NEW}, "is not a valid version"),
    ({"2026-01-01": NEW}, "older than 2026-11-01, the first version"),
    ({RENAMED: "tests.versioned.with_the_former_name"}, "Give a dict for 2027-01-15"),
    ({FIRST: None}, "2026-11-01 can't be withdrawn"),
    ({RENAMED: None, NESTED: NEW}, "2027-01-15 can't be withdrawn: it is not older than all versions that stay."),
    ({RENAMED: {**NEW, "to_previus": "x"}}, "Did you mean 'to_previous'?"),
    ({RENAMED: {**NEW, "zzz": "x"}}, "The keys are: to_previous"),
    ({RENAMED: {**NEW, "description": ""}}, "Describe in a sentence what is new"),
    ({RENAMED: {**NEW, "description": 3}}, "Give a text for 'description'"),
    ({RENAMED: {"description": "New."}}, "The chain of versions has a gap: 2027-01-15 has no 'to_previous'"),
    ({RENAMED: {**NEW, "to_previous": "nowhere.function"}}, "can't be imported"),
    ({RENAMED: {**NEW, "to_previous": "tests.versioned.not_a_function"}}, "is not a function"),
    ({FIRST: {"to_previous": "tests.versioned.raises"}}, "Drop its 'to_previous'"),
    ({RENAMED: NEW, FIRST: {"deprecated_at": "1 February"}}, "'1 February' is not a valid date"),
    ({RENAMED: NEW, FIRST: {"deprecated_at": "2027-02-01", "sunset_at": "2027-01-01"}}, "before it is deprecated"),
    ({RENAMED: NEW, FIRST: {"documentation": "https://x/>,<y"}}, "has to be the URL of a page"),
    ({RENAMED: {**NEW, "sunset_at": "2028-01-01"}}, "is the newest version, so there is none to move to"),
    ({FIRST: {"deprecated_at": "2028-01-01"}}, "is the newest version"),
]


@pytest.mark.parametrize(("given", "hint"), FAULTS)
def test_a_wrong_setting_is_an_error_with_a_hint_and_breaks_nothing(settings, given: Any, hint: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": given}
    found = {one.id: one.hint for one in run_checks()}
    assert hint in str(found["orderhooks.E026"])
    # Checks may not have run: a save, a subscription and the list of versions still work.
    assert FIRST in versions.registered()
    make_order()
    make_subscription()


def test_the_oldest_versions_can_be_withdrawn(settings) -> None:
    given = {**versioned.API_VERSIONS, FIRST: None, RENAMED: {"description": "The oldest."}}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS, "API_VERSIONS": given}
    assert not [one for one in run_checks() if one.id == "orderhooks.E026"]
    assert list(versions.registered()) == [RENAMED, NESTED]
    compare_with_golden(RENAMED)
    with pytest.raises(VersionError, match="not registered"):
        versions.require(FIRST)


def test_right_settings_are_accepted(settings, three_versions) -> None:
    assert not [one for one in run_checks() if (one.id or "").startswith("orderhooks.")]
