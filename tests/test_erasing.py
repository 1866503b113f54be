"""Erasing a person's data: what goes, what stays, and that nothing is missed."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks import (
    catalogue,
    digests,
    encryption,
    json_schema,
    operations,
    reconciling,
    routing,
)
from orderhooks.encryption import Purpose
from orderhooks.models import (
    CaptureFailure,
    Change,
    Delivery,
    Erasure,
    Event,
    IdempotentRequest,
    OrderDigest,
    Subscription,
)
from orderhooks.operations import ErasureError
from orderhooks.payloads import REDACTED
from tests.api.calls import EVERYTHING, client_with, patch
from tests.erasures import ADA, VALUES, ada_ordered, erase, left_of, make_change, order_in, pump
from tests.factories import (
    make_attempt,
    make_backfill,
    make_event,
    make_failed_event,
    make_order,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)


class TestWhatGoes:
    def test_no_text_of_any_table_holds_an_erased_value(self):
        subscription = make_subscription(update_interval_seconds=3600)
        order = ada_ordered()
        routing.route(now=timezone.now())
        order.customer_name = "Ada King-Lovelace"
        order.save()
        order.note = "leave it at the smithy, please"
        order.save()
        routing.route(now=timezone.now())
        assert Delivery.objects.filter(merged_changes__isnull=False).exists()
        for delivery in Delivery.objects.all():
            make_attempt(
                delivery,
                detail=f"It says: no {ADA}",
                request_headers={"x-customer": ADA},
                response_headers={"x-echo": ADA},
                response_body=f"unknown customer {ADA}",
            )
        Delivery.objects.update(last_detail=f"It says: no {ADA}")
        about = {"order_pk": str(order.pk), "order_number": order.number}
        make_failed_event(**about, error=f"KeyError: '{ADA}'", changes={"customer_email": ["", ADA]})
        CaptureFailure.objects.create(source="orderhooks", fingerprint="1", order_pk=about["order_pk"], error="Ada L.")
        CaptureFailure.objects.create(source="orderhooks", fingerprint="2", error=f"ValueError: {ADA.upper()}")
        make_backfill(subscription=subscription, first_error=f"Order 7: ValueError: {ADA}", state="running")
        Subscription.objects.update(last_failure=f"no {ADA}", last_unsent=f"no {ADA}")
        IdempotentRequest.objects.create(
            user=make_user(),
            key_digest="1",
            fingerprint="1",
            response=encryption.encrypt(json.dumps({"customer_email": ADA, "name": "Ada"}), Purpose.RESPONSE),
        )
        make_change(order_pk=str(order.pk), before={"note": "Surrey7"}, after={"note": ADA})
        assert len(left_of([ADA])) > 10

        erase(customer=ADA)

        assert left_of(VALUES) == []
        assert not Change.objects.exists()

    def test_stored_responses_lose_also_what_the_order_had_before_and_numbers(self):
        api = client_with(*EVERYTHING)
        address = {"zip": 77123, "lines": ["Surrey7", 4455667]}
        body = {"currency": "EUR", "customer_name": "Ada Lovelace", "customer_email": ADA, "note": "Ring twice"}
        asked = {**body, "shipping_address": address}
        made = api.post("/api/orders/", asked, format="json", headers={"idempotency-key": "k-1"})
        assert made.status_code == 201, made.data
        patch(api, f"/orders/{made.data['public_id']}/", {"customer_name": "A. King", "note": ""})

        erase(customer=ADA)

        [stored] = IdempotentRequest.objects.all()
        response = encryption.decrypt(stored.response, Purpose.RESPONSE)
        assert json.loads(response)["public_id"] == made.data["public_id"]
        assert [text for text in ("Ada", "77123", "Surrey7", "4455667", "Ring", ADA) if text in response] == []

    @pytest.mark.parametrize(("name", "stays"), [("Ann", False), ("Al", True)])
    def test_a_short_name_is_erased_where_it_is_quoted_unless_it_is_in_every_sentence(self, name: str, stays: bool):
        make_subscription()
        order = ada_ordered(customer_name=name)
        quoted = f"no {name} here"
        IdempotentRequest.objects.create(
            user=make_user(),
            key_digest="1",
            fingerprint="1",
            response=encryption.encrypt(json.dumps({"detail": quoted, "name": name}), Purpose.RESPONSE),
        )

        erase(order=order.number)

        [stored] = IdempotentRequest.objects.all()
        left = json.loads(encryption.decrypt(stored.response, Purpose.RESPONSE))
        assert left == {"detail": quoted if stays else "", "name": ""}

    def test_keys_stay_and_payloads_fit_their_schemas(self):
        make_subscription()
        order = ada_ordered()

        erase(customer=ADA)

        event = Event.objects.filter(order_number=order.number).exclude(topic=REDACTED).latest("sequence")
        shown = order_in(event)
        assert shown["customer"] == {"name": "", "email": "", "phone": ""}
        assert shown["billing_address"] == {"street": "", "lines": ["", None]}
        assert shown["number"] == order.number
        assert shown["lines"][0]["name"] == "Green tea"
        for event in Event.objects.all():
            schema = catalogue.entry(event.topic).schema["properties"]["data"]
            assert list(json_schema.misfits(event.payload, schema)) == []

    def test_changes_keep_their_fields(self):
        make_subscription()
        order = ada_ordered()
        order.customer_email, order.status = "other@example.com", "open"
        order.save()

        erase(order=order.number)

        event = Event.objects.filter(topic="order.updated").latest("sequence")
        assert event.changes["status"] == ["cancelled", "open"]
        assert event.changes["customer_email"] == ["", ""]
        assert event.payload == {"order": order_in(event), "changes": event.changes}

    def test_the_order_itself_is_blanked_without_a_change(self):
        make_subscription()
        order = ada_ordered()
        before = Event.objects.count()

        erase(customer=ADA)

        order.refresh_from_db()
        assert (order.customer_email, order.note, order.shipping_address) == ("", "", {"street": ""})
        assert order.refunds.get().reason == ""
        assert [event.topic for event in Event.objects.order_by("sequence")[before:]] == [REDACTED]

    def test_what_is_published_later_shows_the_blank_order(self):
        make_subscription()
        order = ada_ordered()
        erase(customer=ADA)

        order.refresh_from_db()
        order.status = "closed"
        order.save()

        assert left_of(VALUES) == []

    def test_orders_of_others_stay(self):
        make_subscription()
        ada_ordered()
        other = make_order(customer_email="grace@example.com", note="for Grace")

        erase(customer=ADA)

        other.refresh_from_db()
        assert other.note == "for Grace"
        events = Event.objects.filter(order_number=other.number)
        assert {order_in(event)["customer"]["email"] for event in events} == {"grace@example.com"}
        assert not events.filter(topic=REDACTED).exists()

    def test_a_reconciliation_finds_no_difference_afterwards(self):
        make_subscription()
        ada_ordered()
        later = timezone.now() + timedelta(minutes=1)
        digests.catch_up(now=later, seconds=5)
        digest = OrderDigest.objects.get().digest

        erase(customer=ADA)
        running = reconciling.begin(since=None)
        found = []
        while running.state == "running":
            found += reconciling.advance(running, now=later)

        assert found == []
        renewed = OrderDigest.objects.get()
        assert renewed.digest != digest
        shown = Event.objects.exclude(topic=REDACTED).latest("sequence")
        assert renewed.sequence == shown.pk
        assert reconciling.last_published(shown.source, shown.order_pk) == shown

    def test_the_digest_of_an_order_whose_events_were_pruned_goes(self):
        make_subscription()
        order = ada_ordered()
        digests.catch_up(now=timezone.now() + timedelta(minutes=1), seconds=5)
        Event.objects.all().delete()

        erase(order=order.number)

        assert not OrderDigest.objects.exists()

    def test_the_class_of_an_error_stays_because_republishing_goes_by_it(self):
        make_failed_event(order_number="7", error=f"TopicsNotComputedError: {ADA}")

        erase(order="7")

        assert Event.objects.get(topic="order.paid").error.startswith("TopicsNotComputedError: Erased")


class TestWhoseOrders:
    @pytest.mark.parametrize("address", [ADA, ADA.upper(), f" {ADA} "])
    def test_an_address_is_compared_whole_and_without_regard_to_case(self, address):
        make_subscription()
        mine = ada_ordered()
        ada_ordered(customer_email=f"x{ADA}")
        ada_ordered(customer_email=f"{ADA}.org")

        erasure = erase(customer=address)

        assert [one["number"] for one in erasure.orders] == [mine.number]

    def test_an_address_in_an_event_is_compared_without_regard_to_case(self):
        make_event(payload={"order": {"customer": {"email": "Ada@Example.com"}}, "changes": {}})

        assert len(erase(customer="aDA@example.COM").orders) == 1

    @pytest.mark.parametrize(
        "address", ["jürgen@example.com", 'o"neil@example.com', "o'neil+x@example.com", "李@例え.jp"]
    )
    def test_an_address_may_have_any_characters(self, address):
        event = make_event(payload={"order": {"number": "1001", "customer": {"email": address}}, "changes": {}})

        erase(customer=address)

        event.refresh_from_db()
        assert order_in(event)["customer"]["email"] == ""

    def test_an_order_is_found_by_a_former_address(self):
        make_subscription()
        order = ada_ordered()
        order.customer_email = "countess@example.com"
        order.save()

        erase(customer=ADA)

        assert left_of([*VALUES, "countess@example.com"]) == []

    def test_an_order_without_events_is_found(self):
        order = ada_ordered()
        assert not Event.objects.exists()

        erase(customer=ADA)

        assert left_of(VALUES) == []
        event = Event.objects.get()
        assert order_in(event) == {"id": order.public_id, "number": order.number, "store": ""}

    def test_an_order_that_is_gone_is_found_by_its_events(self):
        make_subscription()
        order = ada_ordered()
        public_id = order.public_id
        order.delete()

        erase(customer=ADA)

        assert left_of(VALUES) == []
        assert order_in(Event.objects.get(topic=REDACTED))["id"] == public_id

    def test_a_change_that_is_not_coalesced_leads_to_its_order(self):
        make_change(order_pk="77", after={"customer_email": ADA})

        erasure = erase(customer=ADA)

        assert [one["order_pk"] for one in erasure.orders] == ["77"]
        assert left_of(VALUES) == []

    def test_an_order_of_several_stores_has_to_be_named(self):
        for store in ("berlin", "paris"):
            make_event(order_number="7", order_pk=store, store=store)

        with pytest.raises(ErasureError, match="store 'berlin'; source 'orderhooks', store 'paris'"):
            operations.erase(order="7")
        assert [one["order_pk"] for one in erase(order="7", store="paris").orders] == ["paris"]

    def test_an_order_and_a_customer_have_to_fit(self):
        make_subscription()
        ada_ordered()
        other = make_order(customer_email="grace@example.com")

        with pytest.raises(ErasureError, match="Nothing is stored of"):
            operations.erase(customer=ADA, order=other.number)

    @pytest.mark.parametrize(
        ("request_", "text"),
        [
            ({}, "Say whose data is to be erased"),
            ({"customer": "ada"}, "is not an e-mail address"),
            (
                {"customer": ADA},
                "No stored order contains this address; where payloads hold none, erase by order number",
            ),
            ({"customer": ADA, "order": "4"}, f"Nothing is stored of the order 4 of {ADA}. No stored order 4 contains"),
            ({"order": "404"}, "Nothing is stored of the order 404"),
            ({"order": "404", "store": "nix"}, "Of the store nix, nothing is stored of the order 404"),
            (
                {"customer": ADA, "stores": ["b"]},
                "No stored order of the stores that you may see contains this address",
            ),
            ({"order": "1", "source": "orderhoks"}, "Did you mean 'orderhooks'"),
        ],
    )
    def test_a_request_that_is_not_possible_says_why(self, request_, text):
        with pytest.raises(ErasureError, match=text):
            operations.erase(**request_)
        assert not Erasure.objects.exists()


class TestOrderRedacted:
    def test_it_goes_to_each_subscription_of_the_topic_whatever_it_filters(self):
        wanted = [
            make_subscription(topics=["order.*"], filter="data.order.total > '100'"),
            make_subscription(topics=["*"], changed_fields=["status"], projection="{total: data.order.total}"),
            make_subscription(topics=[REDACTED]),
        ]
        make_subscription(topics=["order.paid"])
        ada_ordered()
        routing.route(now=timezone.now())

        erase(customer=ADA)
        routing.route(now=timezone.now())

        deliveries = Delivery.objects.filter(event__topic=REDACTED).order_by("subscription")
        assert {one.subscription for one in deliveries} == set(wanted)

    def test_its_body_is_the_same_in_each_projection(self, receiver):
        make_subscription(url=receiver.url, projection="{total: data.order.total}", topics=[REDACTED])
        order = ada_ordered()

        erase(customer=ADA)
        pump()

        [request] = receiver.received
        body = json.loads(request.body)
        assert body["data"] == {
            "order": {"id": order.public_id, "number": order.number, "store": ""},
            "changes": {},
            "redacted": body["data"]["redacted"],
        }
        assert set(body["data"]["redacted"]) >= {"customer", "note", "shipping_address", "refunds.*.reason"}
        assert list(json_schema.misfits(body, catalogue.entry(REDACTED).schema)) == []

    def test_its_example_fits_its_schema(self):
        entry = catalogue.entry(REDACTED)
        assert list(json_schema.misfits(entry.example, entry.schema)) == []
