"""Erasing orders in models of the store, and orders whose source is not configured."""

import pytest

from orderhooks import erasing, operations, signal_handlers
from orderhooks.models import CaptureFailure, Erasure, Event
from orderhooks.operations import ErasureError
from orderhooks.payloads import REDACTED
from tests.erasures import ADA, VALUES, erase, left_of, make_change, order_in
from tests.factories import make_erasure, make_event, make_failed_event, make_order, make_subscription
from tests.shapes import models as shapes
from tests.shapes.sources import TOPICS, Purchase

pytestmark = pytest.mark.django_db(transaction=True)


def failed_capture(**fields: str) -> CaptureFailure:
    return CaptureFailure.objects.create(fingerprint="1", error="KeyError", **fields)


class Purchases(Purchase):
    """Payloads show the city of the address, `changes` the row."""

    personal = ("city", "delivery", "state")


# As long as the column.
SHORT = "ada@lovelace.example"


class PurchasesOfOslo(Purchases):
    def number(self, order):
        return f"P{order.pk}"

    def store(self, order):
        return "Oslo"

    def find(self, number, *, store="", using):
        return self.orders(using=using).filter(pk=number.removeprefix("P")).first()


class TestOrdersInModelsOfTheStore:
    @pytest.fixture(autouse=True)
    def _source(self, settings):
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Purchases"], "TOPICS": TOPICS}
        signal_handlers.connect()

    def test_what_is_stored_goes_and_the_stores_rows_stay(self):
        make_subscription()
        order = shapes.Purchase.objects.create(total=10, delivery=shapes.Address.objects.create(city="Surrey7"))
        shapes.Address.objects.update(city="Ockham")
        order.state = "Lovelace"
        order.save()
        assert left_of(VALUES)

        erase(order=str(order.pk))

        assert left_of(VALUES) == []
        order.refresh_from_db()
        assert order.state == "Lovelace"
        assert order_in(Event.objects.get(topic=REDACTED))["number"] == str(order.pk)

    @pytest.mark.parametrize("is_deleted", [False, True])
    @pytest.mark.parametrize("asked_for", ["customer", "order"])
    def test_an_order_whose_changes_no_worker_has_seen_keeps_its_names(self, asked_for, is_deleted, settings):
        settings.ORDERHOOKS = {
            **settings.ORDERHOOKS,
            "SOURCES": ["orderhooks.sources.BuiltInOrders", f"{__name__}.PurchasesOfOslo"],
            "COALESCE_IN_WORKER": True,
        }
        make_subscription()
        built_in = make_order(customer_email=SHORT, number="7", store="Bergen")
        purchase = shapes.Purchase.objects.create(total=10, state=SHORT)
        purchase_number = f"P{purchase.pk}"
        purchase.state = "new"
        purchase.save()
        if is_deleted:
            built_in.delete()
            purchase.delete()
        for request in (
            [{"customer": SHORT}] if asked_for == "customer" else [{"order": "7"}, {"order": purchase_number}]
        ):
            erase(**request)

        redacted = Event.objects.filter(topic=REDACTED).order_by("order_number")
        named = [(event.order_number, event.store, order_in(event)["number"]) for event in redacted]
        assert named == [("7", "Bergen", "7"), (purchase_number, "Oslo", purchase_number)]
        assert left_of([SHORT]) == []

    def test_an_order_of_which_nothing_is_stored_is_not_erased(self):
        order = shapes.Purchase.objects.create(total=10, delivery=shapes.Address.objects.create(city="Surrey7"))
        assert not Event.objects.exists()

        with pytest.raises(ErasureError, match="Nothing is stored of"):
            operations.erase(order=str(order.pk))

    @pytest.mark.parametrize("make", [make_event, make_failed_event, make_change, failed_capture])
    def test_anything_that_is_stored_of_an_order_can_be_erased(self, make):
        order = shapes.Purchase.objects.create(total=10, delivery=shapes.Address.objects.create(city="Surrey7"))
        make(source="Purchase", order_pk=str(order.pk))

        assert len(operations.preview_erasure(order=str(order.pk)).orders) == 1

    def test_an_order_that_was_erased_and_pruned_is_not_erased_again(self):
        make_event(source="Purchase", order_pk="7", order_number="7")
        erase(order="7")
        Event.objects.exclude(topic=REDACTED).delete()

        with pytest.raises(ErasureError, match="Nothing is stored of"):
            operations.erase(order="7")


class TestSourcesThatAreNotConfigured:
    """Nothing says which of their data is personal, so "Erased" would not be true."""

    @pytest.mark.parametrize("request_", [{"customer": ADA}, {"order": "7"}])
    def test_an_erasure_of_one_is_refused(self, request_):
        payload = {"order": {"who": ADA, "wish": "Surrey7"}, "changes": {}}
        make_event(source="elsewhere", order_number="7", payload=payload)

        with pytest.raises(ErasureError, match="The order source 'elsewhere' is not in SOURCES here"):
            operations.erase(**request_)
        assert not Erasure.objects.exists()

    def test_a_worker_without_it_leaves_the_erasure_to_others(self):
        event = make_event(source="elsewhere", payload={"order": {"email": ADA}, "changes": {}})
        about = {"source": "elsewhere", "order_pk": event.order_pk, "number": event.order_number, "store": ""}
        erasure = make_erasure(state="running", finished_at=None, orders=[about], orders_done=0)

        with pytest.raises(ErasureError, match="Run the erasure where SOURCES has it"):
            erasing.advance(erasure)
        assert left_of([ADA])
