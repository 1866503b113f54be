"""What orders contain, at rest: encrypted if the setting says so, read in both forms, and never lost with a key."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, models
from django.db.models.functions import Cast
from django.test import Client
from django.utils import timezone

from orderhooks import matching, routing
from orderhooks.db import encrypted_records
from orderhooks.db.encrypted_records import UNREADABLE, EncryptedJSONField, EncryptedTextField
from orderhooks.encryption import UndecryptableError
from orderhooks.models import Attempt, Change, Delivery, Event, Order, SubscriptionSecret
from orderhooks.operations import ErasureError
from tests.admin.visits import page, staff
from tests.api.calls import EVERYTHING, client_with
from tests.erasures import ADA, VALUES, ada_ordered, erase, left_of, make_change, pump
from tests.factories import make_attempt, make_delivery, make_event, make_order, make_subscription, make_user
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

FIRST, SECOND = "the first key of the store", "the second key of the store"
COLUMNS = [
    (Change, "before"),
    (Change, "after"),
    (Change, "snapshot"),
    (Event, "payload"),
    (Event, "changes"),
    (Delivery, "merged_changes"),
    (Attempt, "response_body"),
]


def put(settings: Any, *keys: str, on: bool = True) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPT_PAYLOADS": on, "ENCRYPTION_KEYS": list(keys)}


@pytest.fixture(autouse=True)
def _first_key(settings: Any) -> None:
    put(settings, FIRST)


def stored(model: type[models.Model], name: str) -> list[str | None]:
    """The texts that the column holds, as anybody reads them who has the database alone."""
    rows = model._default_manager.annotate(text=Cast(name, models.TextField())).order_by("pk")
    return list(rows.values_list("text", flat=True))


def everything_that_is_stored() -> str:
    return "\n".join(text or "" for model, name in COLUMNS for text in stored(model, name))


def ada_with_everything() -> None:
    """Ada's order with a row in each of the columns."""
    subscription = make_subscription(update_interval_seconds=3600)
    order = ada_ordered()
    routing.route(now=timezone.now())
    order.note = "leave it at the smithy, please"
    order.save()
    routing.route(now=timezone.now())
    make_attempt(Delivery.objects.filter(subscription=subscription)[0], response_body=f"unknown customer {ADA}")
    make_change(order_pk=str(order.pk), before={"note": "Surrey7"}, after={"note": ADA}, snapshot={"note": ADA})


def test_the_list_of_columns_is_complete() -> None:
    fields = (field for model in (Change, Event, Delivery, Attempt) for field in model._meta.fields)
    encrypted = [field for field in fields if isinstance(field, EncryptedJSONField | EncryptedTextField)]
    assert [(field.model, field.name) for field in encrypted] == COLUMNS


def test_a_copy_of_the_database_shows_nothing_that_the_order_contains() -> None:
    ada_with_everything()
    text = everything_that_is_stored()
    assert all(any(stored(model, name)) for model, name in COLUMNS)
    assert not [value for value in VALUES if value in text]
    assert left_of(VALUES), "they are there to be read"


def test_an_order_arrives_as_it_would_without(settings: Any, receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url, filter="data.order.customer_email != ''", changed_fields=["note"])
    bodies = []
    for is_on in (True, False):
        put(settings, FIRST, on=is_on)
        order = make_order(number=f"is {is_on}", customer_email=ADA, note="ring twice")
        order.note = "ring once"
        order.save()
        pump()
        bodies.append({one.topic: _without_ids(json.loads(one.body)["data"]) for one in receiver.received})
        receiver.received.clear()
    encrypted, plain = bodies
    assert encrypted == plain
    assert encrypted["order.updated"]["changes"] == {"note": ["ring twice", "ring once"]}


def _without_ids(data: Any) -> Any:
    if isinstance(data, dict):
        names = [name for name in data if name not in ("id", "number") and not name.endswith("_at")]
        return {name: _without_ids(data[name]) for name in names}
    return [_without_ids(one) for one in data] if isinstance(data, list) else data


@pytest.mark.parametrize("text", ["", "ok", "encrypted:", "encrypted:00000000:gAAAA", '{"a": "orderhooks:encrypted"}'])
@pytest.mark.parametrize("is_on", [True, False])
def test_a_response_is_read_as_it_came(settings: Any, is_on: bool, text: str) -> None:
    put(settings, FIRST, on=is_on)
    attempt = make_attempt(make_delivery(), response_body=text)
    attempt.refresh_from_db()
    assert attempt.response_body == text
    assert (stored(Attempt, "response_body") == [text]) is (not text or (not is_on and text[:10] != "encrypted:"))


@pytest.mark.parametrize("payload", [{"order": {"encrypted": "x", "key": "y"}, "changes": {}}, {"a": None}, [], "x", 0])
@pytest.mark.parametrize("is_on", [True, False])
def test_json_is_read_as_it_was_written(settings: Any, is_on: bool, payload: Any) -> None:
    put(settings, FIRST, on=is_on)
    event = make_event(payload=payload)
    event.refresh_from_db()
    assert event.payload == payload


def test_an_erasure_finds_the_customer_and_leaves_nothing() -> None:
    ada_with_everything()
    Change.objects.all().delete()
    erase(customer=ADA)
    assert left_of(VALUES) == []


def test_rows_follow_the_key_and_the_setting(settings: Any) -> None:
    ada_with_everything()
    before = _read()
    put(settings, SECOND, FIRST)
    call_command("orderhooks_reencrypt", verbosity=0)
    put(settings, SECOND)
    assert _read() == before, "without the first key"

    put(settings, SECOND, on=False)
    call_command("orderhooks_reencrypt", verbosity=0)
    assert ADA in everything_that_is_stored()
    put(settings, FIRST, on=False)
    assert _read() == before, "in the clear"

    put(settings, FIRST, SECOND)
    call_command("orderhooks_reencrypt", verbosity=0)
    assert ADA not in everything_that_is_stored()
    assert _read() == before


def _read() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values_list(name, flat=True)) for model, name in COLUMNS]


def test_rows_that_fit_are_not_written_again() -> None:
    ada_with_everything()
    assert [encrypted_records.rewrite(model) for model in (Change, Event, Delivery, Attempt)] == [(0, 0)] * 4


@pytest.mark.parametrize("text", [str(encrypted_records.UNREADABLE), "encrypted:abc:def"])
@pytest.mark.parametrize("is_on", [True, False])
def test_a_response_that_looks_like_what_we_store_is_rewritten_once(settings: Any, is_on: bool, text: str) -> None:
    put(settings, FIRST, on=not is_on)
    attempt = make_attempt(make_delivery(), response_body=text)
    put(settings, SECOND, FIRST, on=is_on)
    assert encrypted_records.rewrite(Attempt) == (1, 0)
    assert encrypted_records.rewrite(Attempt) == (0, 0)
    attempt.refresh_from_db()
    assert attempt.response_body == text


def test_many_rows_are_rewritten_in_batches(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted_records, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        make_event()
    put(settings, SECOND, FIRST)
    assert encrypted_records.rewrite(Event) == (5, 0)


class TestAMissingKey:
    def test_what_cannot_be_read_is_left_alone(self, settings: Any) -> None:
        ada_with_everything()
        before = everything_that_is_stored()
        put(settings, SECOND)
        found = [encrypted_records.rewrite(model) for model in (Change, Event, Delivery, Attempt)]
        assert {one.changed for one in found} == {0}
        assert all(one.unreadable for one in found)
        assert everything_that_is_stored() == before

    def test_the_command_fails_and_counts_what_cannot_be_read(self, settings: Any) -> None:
        ada_with_everything()
        put(settings, SECOND)
        SubscriptionSecret.objects.all().delete()
        count = sum(encrypted_records.rewrite(model).unreadable for model in (Change, Event, Delivery, Attempt))
        with pytest.raises(CommandError, match=f"what orders contain in {count} rows"):
            call_command("orderhooks_reencrypt", stdout=io.StringIO())

    def test_a_delivery_waits_for_the_key_of_its_secret_and_is_not_given_up(
        self, settings: Any, receiver: RecordingReceiver
    ) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": [1, 2]}
        subscription = make_subscription(url=receiver.url)
        event = make_event(routed_at=None)
        put(settings, SECOND)
        # A payload of the present key: this is about the secret's.
        Event.objects.filter(pk=event.pk).update(payload={"order": {}}, changes={})
        for made in range(1, 6):
            pump()
            delivery = Delivery.objects.get()
            assert (delivery.state, delivery.last_error, delivery.attempts_made) == ("pending", "key", made)
            Delivery.objects.update(next_attempt_at=timezone.now())
        subscription.refresh_from_db()
        assert "key" in subscription.last_unsent

        put(settings, SECOND, FIRST)
        pump()
        assert Delivery.objects.get().state == "delivered"

    def test_a_reconciliation_says_which_key_is_missing(self, settings: Any) -> None:
        Order.objects.create()
        make_subscription()
        make_event(topic="order.created", published_at=timezone.now() - timedelta(minutes=1))
        put(settings, SECOND)
        with pytest.raises(CommandError, match="its key is missing"):
            call_command("orderhooks_doctor", "--reconcile", stdout=io.StringIO())

    @pytest.mark.parametrize(
        "choices",
        [
            {},
            {"filter": "data.order.number == '1001'"},
            {"topics": ["order.updated"], "changed_fields": ["note"]},
            {"filter": "data.order.number == '1002'"},
            {"topics": ["order.updated"], "changed_fields": ["status"]},
        ],
    )
    def test_a_delivery_waits_for_the_key(self, settings: Any, receiver: RecordingReceiver, choices: Any) -> None:
        is_wanted = "1002" not in choices.get("filter", "") and "status" not in choices.get("changed_fields", [])
        subscription = make_subscription(**{"url": receiver.url, "topics": ["order.*"], **choices})
        make_event(
            topic="order.updated",
            payload={"order": {"number": "1001"}, "changes": {"note": ["", "x"]}},
            changes={"note": ["", "x"]},
            routed_at=None,
        )
        put(settings, SECOND)
        # Secrets have keys of their own; this is about the event's.
        subscription.secrets.all().delete()
        subscription.add_secret()
        pump()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_error, receiver.received) == ("pending", "key", [])
        assert "ENCRYPTION_KEYS" in delivery.last_detail

        put(settings, SECOND, FIRST)
        Delivery.objects.update(next_attempt_at=timezone.now())
        pump()
        assert Delivery.objects.get().state == ("delivered" if is_wanted else "skipped")
        assert len(receiver.received) == is_wanted

    def test_the_pages_and_the_api_say_so(self, settings: Any) -> None:
        delivery = make_delivery()
        make_attempt(delivery, response_body="no such order")
        operator = staff(*EVERYTHING)
        put(settings, SECOND)
        for path in (f"event/{delivery.event_id}/change/", f"delivery/{delivery.pk}/change/"):
            assert "its key is missing" in page(operator, path), path
        api = client_with(*EVERYTHING)
        shown = api.get(f"/api/events/{delivery.event.public_id}/").json()
        assert (shown["payload"], "its key is missing" in shown["error"]) == (None, True)
        assert api.get("/api/events/").status_code == 200
        [attempt] = Attempt.objects.all()
        assert attempt.response_body == UNREADABLE

    def test_an_erasure_says_why_it_cannot_find_a_customer(self, settings: Any) -> None:
        make_subscription()
        ada_ordered()
        put(settings, SECOND)
        with pytest.raises(ErasureError, match="its key is missing"):
            erase(customer=ADA)

    def test_the_plan_of_an_erasure_says_which_key_is_missing(self, settings: Any) -> None:
        ada_with_everything()
        number = Event.objects.exclude(order_number="").values_list("order_number", flat=True)[0]
        put(settings, SECOND)
        operator = Client()
        operator.force_login(make_user(is_staff=True, is_superuser=True))
        response = operator.post("/admin/orderhooks/erasure/add/", {"customer": "", "order": number, "store": ""})
        assert "would be erased" in response.content.decode()
        assert "ENCRYPTION_KEYS" in response.content.decode()

    @pytest.mark.parametrize("options", [["--dry-run"], []])
    def test_an_erasure_by_number_says_which_key_is_missing(self, settings: Any, options: list[str]) -> None:
        ada_with_everything()
        number = Event.objects.exclude(order_number="").values_list("order_number", flat=True)[0]
        put(settings, SECOND)
        with pytest.raises(CommandError, match="ENCRYPTION_KEYS"):
            call_command("orderhooks_erase", "--order", number, *options)

    def test_what_cannot_be_read_keeps_nothing_of_the_query_that_read_it(self, settings: Any) -> None:
        make_event()
        put(settings, SECOND)
        payload = next(Event.objects.all().iterator()).payload
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT name FROM pg_cursors WHERE name LIKE '_django%%'", [])
                assert cursor.fetchall() == [], "the database keeps it open"
        with pytest.raises(UndecryptableError) as first:
            _ = payload or {}
        with pytest.raises(UndecryptableError) as second:
            _ = payload or {}
        assert first.value is not second.value, "each use adds its frames to an error that is kept"

    def test_a_payload_that_cannot_be_read_is_not_taken_for_an_empty_one(self, settings: Any) -> None:
        make_event()
        put(settings, SECOND)
        [event] = Event.objects.all()
        with pytest.raises(UndecryptableError, match="ENCRYPTION_KEYS"):
            _ = event.payload or {}
        with pytest.raises(UndecryptableError):
            event.save()


def test_an_unjudged_event_has_a_reason(settings: Any) -> None:
    subscription = make_subscription(filter="data.order.number == '1'")
    make_event()
    put(settings, SECOND)
    verdict = matching.Matcher().judge(Event.objects.get(), subscription)
    assert (verdict.kind, verdict.is_wanted) == ("key", False)
