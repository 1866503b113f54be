"""Erasing an order that has changed its store: whose it is, and which receivers hear of it."""

from typing import Any

import pytest
from django.utils import timezone

from orderhooks import operations, outbox, routing
from orderhooks.models import Delivery, Event, Order
from orderhooks.operations import ErasureError
from orderhooks.payloads import REDACTED
from tests.erasures import ADA, ada_ordered, erase, order_in
from tests.factories import make_event, make_failed_event, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def moved_order(*stores: str) -> Order:
    """An order of Ada's that was in each of the stores, and is in the last."""
    first, *others = stores
    order = ada_ordered(store=first)
    for store in others:
        order.store = store
        order.save()
    return order


@pytest.mark.parametrize("stores", [("paris", "berlin"), ("berlin", "paris"), ("berlin", "", "paris")])
def test_each_store_that_published_the_order_hears_of_it(stores: tuple[str, ...]) -> None:
    wanting = [make_subscription(topics=[REDACTED], store=store) for store in ("berlin", "paris")]
    make_subscription(topics=[REDACTED], store="oslo")
    make_subscription()
    order = moved_order(*stores)

    erase(order=order.number)
    routing.route(now=timezone.now())

    redacted = Event.objects.filter(topic=REDACTED)
    assert sorted(event.store for event in redacted) == sorted(stores)
    assert all(
        order_in(event) == {"id": order.public_id, "number": order.number, "store": event.store} for event in redacted
    )
    for subscription in wanting:
        [delivery] = Delivery.objects.filter(subscription=subscription)
        assert delivery.event.store == subscription.store


def test_a_store_in_whose_name_nothing_was_published_does_not() -> None:
    make_failed_event(store="paris", order_pk="7", order_number="7")
    make_event(store="berlin", order_pk="7", order_number="7")

    erase(order="7")

    assert [event.store for event in Event.objects.filter(topic=REDACTED)] == ["berlin"]


@pytest.mark.parametrize("request_", [{"customer": ADA}, {"order": "7"}])
@pytest.mark.parametrize(("former", "newest"), [("paris", "berlin"), ("berlin", "paris")])
def test_an_order_is_of_its_newest_store(request_: dict[str, str], former: str, newest: str) -> None:
    make_subscription()
    order = moved_order(former, newest)
    Event.objects.filter(order_pk=str(order.pk)).update(order_number="7")

    for chosen in ({"stores": [newest]}, {"store": newest}):
        assert [one["store"] for one in operations.preview_erasure(**request_, **chosen).orders] == [newest]
        assert operations.preview_erasure(**request_, **chosen).store == newest
    for chosen in ({"stores": [former]}, {"store": former}):
        with pytest.raises(ErasureError, match=r"(?i)nothing is stored of"):
            operations.preview_erasure(**request_, **chosen)


@pytest.mark.by_hand
class TestWhileChangesWait:
    """No worker has made events of them yet."""

    @pytest.fixture(autouse=True)
    def _in_worker(self, settings: Any) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
        make_subscription()

    @pytest.mark.parametrize("is_deleted", [False, True])
    def test_an_order_is_of_the_store_that_it_is_in_now(self, is_deleted: bool) -> None:
        order = ada_ordered(number="7", store="berlin")
        outbox.coalesce_left_behind(now=timezone.now())
        order.store = "paris"
        order.save()
        if is_deleted:
            order.delete()
        for request in ({"customer": ADA}, {"order": "7"}):
            assert [one["store"] for one in operations.preview_erasure(**request, stores=["paris"]).orders] == ["paris"]
            with pytest.raises(ErasureError, match=r"(?i)nothing is stored of"):
                operations.preview_erasure(**request, stores=["berlin"])

    def test_orders_of_one_number_are_kept_apart(self) -> None:
        for store in ("berlin", "paris"):
            ada_ordered(number="7", store=store)
        with pytest.raises(ErasureError, match="Several orders have the number 7"):
            operations.preview_erasure(order="7")
        for store in ("berlin", "paris"):
            for chosen in ({"stores": [store]}, {"store": store}):
                assert [one["store"] for one in operations.preview_erasure(order="7", **chosen).orders] == [store]


def test_a_former_address_leads_to_the_newest_store() -> None:
    make_event(store="paris", order_pk="7", payload={"order": {"customer": {"email": ADA}}, "changes": {}})
    make_event(store="berlin", order_pk="7", order_number="8", payload={"order": {"number": "8"}, "changes": {}})

    [order] = operations.preview_erasure(customer=ADA).orders

    assert (order["store"], order["number"]) == ("berlin", "8")
