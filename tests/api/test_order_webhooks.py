"""`orders/<source>/<number>/webhooks/`: what became of the events of an order of any source, by its number."""

from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from orderhooks import signal_handlers
from orderhooks.api.orders import OrderViewSet
from orderhooks.models import Event
from orderhooks.sources import OrderSource
from tests.api.calls import client_with, errors_of
from tests.factories import make_delivery, make_event, make_order, make_subscription
from tests.shapes.models import TextOrder

pytestmark = pytest.mark.django_db
VIEW = ("view_event", "view_delivery")


class TextOrders(OrderSource):
    """Its orders are called by their keys, and belong to the store that the key begins with."""

    name = "shop"
    model = "shapes.TextOrder"
    watched = ("state",)

    def store(self, order: Any) -> str:
        return order.code.partition("-")[0]


class Broken(TextOrders):
    def find(self, number: str, *, store: str, using: str) -> Any:
        raise RuntimeError("not now")


def of_berlin(_user: object) -> list[str]:
    return ["berlin"]


@pytest.fixture(autouse=True)
def shop(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.TextOrders"]}
    signal_handlers.connect()


@pytest.fixture
def manager() -> APIClient:
    return client_with(*VIEW, "manage_all_subscriptions")


@pytest.fixture
def berliner(settings: Any) -> APIClient:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.of_berlin"}
    return client_with(*VIEW)


def event_of(number: str, **fields: Any) -> Event:
    return make_event(**{"source": "shop", "order_pk": number, "order_number": number, **fields})


def get(api: APIClient, number: str, source: str = "shop") -> Any:
    return api.get(f"/api/orders/{source}/{quote(number, safe='')}/webhooks/")


def test_it_reports_the_events_of_that_order_alone_newest_first(manager: APIClient) -> None:
    first, last = event_of("A-7"), event_of("A-7", topic="order.updated")
    delivery = make_delivery(event=last, state="failed", subscription=make_subscription(name="Warehouse"))
    event_of("A-8")
    event_of("A-7", source="another")
    response = get(manager, "A-7")
    assert response.status_code == 200
    assert [one["public_id"] for one in response.data] == [last.public_id, first.public_id]
    [outcome] = response.data[0]["subscriptions"]
    assert (outcome["subscription_name"], outcome["reason"], outcome["delivery"]) == (
        "Warehouse",
        "failed",
        delivery.public_id,
    )
    assert "payload" not in response.data[0]


@pytest.mark.parametrize(
    "number", ["A/7", "a b", "7?x=1#y", "100 %", "Nº 7", "webhooks", "7/webhooks", "fulfillments", "A.7", "ord_7", "7/"]
)
def test_a_number_may_have_any_characters(manager: APIClient, number: str) -> None:
    event = event_of(number)
    assert [one["public_id"] for one in get(manager, number).data] == [event.public_id]


def test_the_body_is_that_of_the_built_in_order(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["orderhooks.sources.BuiltInOrders"]}
    order = make_order(number="7")
    event = make_event(source="orderhooks", order_pk=str(order.pk), order_number="7")
    make_delivery(event=event)
    api = client_with(*VIEW, "view_order", "manage_all_subscriptions")
    by_number = get(api, "7", "orderhooks")
    assert by_number.data != []
    assert by_number.data == api.get(f"/api/orders/{order.public_id}/webhooks/").data


def test_an_order_that_was_deleted_or_whose_source_has_gone_still_has_its_events(manager: APIClient) -> None:
    event_of("A-7", topic="order.deleted")
    event_of("B-7", source="former")
    assert [one["topic"] for one in get(manager, "A-7").data] == ["order.deleted"]
    assert get(manager, "B-7", "former").status_code == 200


def test_an_order_without_events_has_an_empty_report(manager: APIClient) -> None:
    TextOrder.objects.create(code="A-7")
    response = get(manager, "A-7")
    assert (response.status_code, response.data) == (200, [])


@pytest.mark.parametrize(("source", "number"), [("shop", "A-8"), ("nothing", "A-7"), ("orderhooks", "A-7")])
def test_an_unknown_source_or_number_is_a_404(manager: APIClient, source: str, number: str) -> None:
    TextOrder.objects.create(code="A-7")
    assert get(manager, number, source).status_code == 404


@pytest.mark.parametrize("path", ["Broken", "Nowhere"])
def test_a_source_that_fails_is_a_404(settings: Any, manager: APIClient, path: str, caplog: Any) -> None:
    TextOrder.objects.create(code="A-7")
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.{path}"]}
    assert get(manager, "A-7").status_code == 404
    assert [one for one in caplog.records if one.levelname == "ERROR"]


class TestWhoMay:
    def test_it_takes_the_permissions_to_see_events_and_deliveries(self) -> None:
        event_of("A-7")
        for missing in VIEW:
            api = client_with(*({*VIEW, "view_order", "manage_all_subscriptions"} - {missing}))
            assert {get(api, number).status_code for number in ("A-7", "A-8")} == {403}

    def test_a_store_sees_its_own_orders_and_of_the_others_not_even_that_they_exist(self, berliner: APIClient) -> None:
        for store in ("berlin", "paris"):
            event_of("7", store=store)
            event_of(f"{store}-8", store=store)
            TextOrder.objects.create(code=f"{store}-9")
        assert [one["store"] for one in get(berliner, "7").data] == ["berlin"]
        assert {number: get(berliner, f"berlin-{number}").status_code for number in (8, 9, 10)} == {
            8: 200,
            9: 200,
            10: 404,
        }
        unseen = [get(berliner, f"paris-{number}") for number in (8, 9, 10)]
        assert {(one.status_code, one.content) for one in unseen} == {(404, unseen[2].content)}

    def test_without_a_store_a_user_sees_no_order(self) -> None:
        event_of("A-7")
        TextOrder.objects.create(code="A-8")
        api = client_with(*VIEW)
        assert {get(api, number).status_code for number in ("A-7", "A-8")} == {404}

    def test_only_the_subscriptions_that_the_user_may_see_are_in_it(self, berliner: APIClient) -> None:
        make_delivery(event=event_of("7", store="berlin"))
        assert [one["subscriptions"] for one in get(berliner, "7").data] == [[]]


def test_a_query_parameter_or_a_character_that_no_database_stores_is_refused(manager: APIClient) -> None:
    event_of("A-7")
    response = manager.get("/api/orders/shop/A-7/webhooks/?store=berlin")
    assert (response.status_code, list(errors_of(response))) == (400, ["?store"])
    assert manager.get("/api/orders/shop/A%007/webhooks/").status_code == 400


BUILT_IN = [
    ("get", "orders/"),
    ("post", "orders/"),
    ("get", "orders/{order}/"),
    ("put", "orders/{order}/"),
    ("patch", "orders/{order}/"),
    ("delete", "orders/{order}/"),
    ("options", "orders/"),
    ("get", "orders/{order}/webhooks/"),
    ("get", "orders/{order}/fulfillments/"),
    ("post", "orders/{order}/payments/"),
    ("get", "orders/{order}/refunds/"),
]


class TestTheBuiltInOrdersWithoutTheirSource:
    @pytest.mark.parametrize(("method", "path"), BUILT_IN)
    def test_their_urls_are_a_404(self, api: APIClient, method: str, path: str) -> None:
        order = make_order()
        response = getattr(api, method)(f"/api/{path.format(order=order.public_id)}", {}, format="json")
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"

    def test_neither_the_root_nor_the_document_has_them(self, api: APIClient) -> None:
        assert "orders" not in api.get("/api/").data
        made = api.get("/api/schema/").json()
        assert [path for path in made["paths"] if path.startswith("/orders/")] == [
            "/orders/{source}/{number}/webhooks/",
            "/orders/digests/",
        ]
        assert not {"Order", "OrderRequest", "Fulfillment", "Payment"} & set(made["components"]["schemas"])
        assert "order.fulfillment_created" not in made["webhooks"]

    @pytest.mark.parametrize(
        "path", ["orderhooks.sources.BuiltInOrders", f"{__name__}.OwnBuiltInOrders", f"{__name__}.Nowhere"]
    )
    def test_they_are_there_with_any_source_of_theirs_and_while_the_setting_is_wrong(
        self, settings: Any, api: APIClient, path: str
    ) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [path]}
        assert "orders" in api.get("/api/").data
        assert api.get("/api/orders/").status_code == 200


class OwnBuiltInOrders(OrderSource):
    name = "own"
    model = "orderhooks.Order"
    watched = ("number",)


def test_a_source_of_ones_own_for_the_built_in_orders_reports_its_events(settings: Any, api: APIClient) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.OwnBuiltInOrders"]}
    order = make_order()
    event = make_event(source="own", order_pk=str(order.pk))
    response = api.get(f"/api/orders/{order.public_id}/webhooks/")
    assert [one["public_id"] for one in response.data] == [event.public_id]
    assert OrderViewSet.is_offered()
