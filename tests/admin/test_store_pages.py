"""The store's own admin: the webhooks of its orders, and links to them from the log."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orderhooks import signal_handlers
from orderhooks.models import Delivery, Event, Order
from tests.admin import store_site
from tests.admin.visits import client_of, history_of
from tests.factories import make_delivery, make_event, make_order, make_subscription, make_user
from tests.shapes import models
from tests.shapes.sources import PATHS, TOPICS

pytestmark = pytest.mark.django_db

LINK = '<li><a href="{}webhooks/">Webhooks of this order</a></li>'


@pytest.fixture(autouse=True)
def store(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.admin.store_site"
    use(settings, *PATHS)


def use(settings: Any, *paths: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": list(paths), "TOPICS": TOPICS}
    signal_handlers.connect()


def staff(*permissions: str) -> Client:
    """Permissions of orderhooks, and of the store where they name one of its models."""
    user = make_user(*permissions, is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(content_type__app_label="shapes", codename__in=permissions))
    return client_of(user)


@pytest.fixture
def viewer() -> Client:
    return staff("view_purchase", "view_delivery")


def page_of(order: Any, site: str = "admin", model: str = "") -> str:
    return f"/{site}/shapes/{model or order._meta.model_name}/{order.pk}/"


def read(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, url
    return response.content.decode()


def event_of(order: Any, source: str = "", **fields: Any) -> Event:
    source = source or type(order).__name__
    return make_event(**{"source": source, "order_pk": str(order.pk), "order_number": str(order.pk), **fields})


class TestThePage:
    def test_shows_what_came_of_the_orders_events_and_is_linked(self, viewer: Client) -> None:
        order = models.Purchase.objects.create()
        delivery = make_delivery(event=event_of(order), state="failed", subscription=make_subscription(name="ERP"))
        make_delivery(event=event_of(models.Purchase.objects.create()), state="delivered")
        make_delivery(event=event_of(order, source="another"), state="delivered")
        assert LINK.format(page_of(order)) in read(viewer, f"{page_of(order)}change/")
        text = read(viewer, f"{page_of(order)}webhooks/")
        for words in ("Webhooks of Purchase object", "1 failed", "ERP", f"/admin/orderhooks/delivery/{delivery.pk}/"):
            assert words in text
        assert f'<a href="{page_of(order)}change/">Back to the order</a>' in text
        assert "delivered" not in text

    def test_of_an_order_without_events_says_why(self, settings: Any, viewer: Client) -> None:
        order = models.Purchase.objects.create()
        assert "There is no subscription" in read(viewer, f"{page_of(order)}webhooks/")
        use(settings, "tests.shapes.sources.TextOrder")
        assert "no source in ORDERHOOKS[&#x27;SOURCES&#x27;] describes shapes.Purchase" in read(
            viewer, f"{page_of(order)}webhooks/"
        )
        use(settings, "nowhere.Orders")
        assert "No order is watched" in read(viewer, f"{page_of(order)}webhooks/")

    def test_sends_again_what_failed(self) -> None:
        order = models.Purchase.objects.create()
        event = event_of(order)
        failed, other = make_delivery(event=event, state="failed"), make_delivery(state="failed")
        url = f"{page_of(order)}webhooks/redeliver/"
        redeliverer = staff("view_purchase", "view_delivery", "redeliver_delivery")
        assert f'formaction="{url}"' in read(redeliverer, f"{page_of(order)}webhooks/")
        response = redeliverer.post(url, follow=True)
        assert response.redirect_chain == [(f"{page_of(order)}webhooks/", 302)]
        assert "1 delivery is sent again." in response.content.decode()
        assert dict(Delivery.objects.values_list("pk", "state")) == {failed.pk: "pending", other.pk: "failed"}
        assert [message for _user, message in history_of(order)] == ["1 delivery is sent again."]
        assert f'formaction="{url}"' not in read(redeliverer, f"{page_of(order)}webhooks/")
        response = redeliverer.post(url, follow=True)
        assert response.redirect_chain == [(f"{page_of(order)}webhooks/", 302)]
        assert "Nothing was sent again" in response.content.decode()
        assert len(history_of(order)) == 1

    def test_says_so_where_the_button_was_pressed_after_the_session_had_ended(self, viewer: Client) -> None:
        order = models.Purchase.objects.create()
        response = viewer.get(f"{page_of(order)}webhooks/redeliver/", follow=True)
        assert "Nothing was done. If you pressed “Redeliver what failed” after" in response.content.decode()
        assert viewer.delete(f"{page_of(order)}webhooks/redeliver/").status_code == 405

    def test_takes_the_same_queries_however_much_happened(self, viewer: Client) -> None:
        order = models.Purchase.objects.create()

        def grow(count: int) -> int:
            for _ in range(count):
                make_delivery(event=event_of(order))
            with CaptureQueriesContext(connection) as captured:
                read(viewer, f"{page_of(order)}webhooks/")
            return len(captured)

        grow(1)
        assert grow(2) == grow(7)


class TestWhoMay:
    @pytest.mark.parametrize(
        "permissions", [("view_purchase", "view_order", "redeliver_delivery"), ("view_delivery", "view_order")]
    )
    def test_it_takes_the_permissions_to_view_the_order_and_deliveries(self, permissions: Any) -> None:
        order = models.Purchase.objects.create()
        make_delivery(event=event_of(order), state="failed")
        client = staff(*permissions)
        for key in (order.pk, order.pk + 1):
            assert client.get(f"/admin/shapes/purchase/{key}/webhooks/").status_code == 403
            assert client.post(f"/admin/shapes/purchase/{key}/webhooks/redeliver/").status_code == 403
        if "view_purchase" in permissions:
            assert "Webhooks of this order" not in read(client, f"{page_of(order)}change/")

    def test_only_who_may_redeliver_sends_again(self, viewer: Client) -> None:
        order = models.Purchase.objects.create()
        make_delivery(event=event_of(order), state="failed")
        assert "Redeliver what failed" not in read(viewer, f"{page_of(order)}webhooks/")
        assert viewer.post(f"{page_of(order)}webhooks/redeliver/").status_code == 403
        assert Delivery.objects.get().state == "failed"

    @pytest.mark.parametrize(("state", "status"), [("secret", 404), ("private", 403)])
    def test_the_stores_own_rules_hold(self, viewer: Client, state: str, status: int) -> None:
        order = models.Purchase.objects.create(state=state)
        make_delivery(event=event_of(order), state="failed")
        read(viewer, f"{page_of(order)}webhooks/", status=status)
        log = staff("view_purchase", "view_delivery", "view_event")
        for name in ("event", "delivery"):
            text = read(log, f"/admin/orderhooks/{name}/")
            assert f"{page_of(order)}change/" not in text
            assert f"dashboard/order/?number={order.pk}" in text

    def test_errors_of_events_take_the_permission_to_see_payloads(self, viewer: Client) -> None:
        order = models.Purchase.objects.create()
        event_of(order, payload=None, published_at=None, routed_at=None, error="ValueError: Ada")
        assert "ValueError: Ada" not in read(viewer, f"{page_of(order)}webhooks/")
        sees = staff("view_purchase", "view_delivery", "view_payload")
        assert "ValueError: Ada" in read(sees, f"{page_of(order)}webhooks/")

    def test_nobody_gets_in_without_a_login(self) -> None:
        order = models.Purchase.objects.create()
        assert Client().get(f"{page_of(order)}webhooks/").status_code == 302


class TestAnyAdmin:
    def test_a_template_of_the_stores_own_gets_the_link(self, operator: Client) -> None:
        order = models.TextOrder.objects.create(code="A/1 b")
        make_delivery(event=event_of(order), subscription=make_subscription(name="ERP"))
        url = "/admin/shapes/textorder/A_2F1 b/".replace(" ", "%20")
        text = read(operator, f"{url}change/")
        assert "The store's own template" in text
        assert LINK.format(url) in text
        assert "ERP" in read(operator, f"{url}webhooks/")

    def test_a_template_without_the_block_includes_the_link(self, operator: Client) -> None:
        order = models.UuidOrder.objects.create()
        assert read(operator, f"{page_of(order)}change/").count(LINK.format(page_of(order))) == 1

    def test_the_field_shows_the_webhooks_in_the_orders_page_instead(self, operator: Client) -> None:
        # The source describes the proxy.
        order = models.PlainOrder.objects.create()
        event = event_of(order, source="ProxyOrder")
        make_delivery(event=event, state="failed", subscription=make_subscription(name="ERP"))
        text = read(operator, f"{page_of(order)}change/")
        assert "ERP" in text
        assert "Webhooks of this order" not in text
        response = operator.post(f"{page_of(order)}webhooks/redeliver/", follow=True)
        assert response.redirect_chain == [(f"{page_of(order)}change/", 302)]
        assert "ERP" not in read(staff("view_plainorder"), f"{page_of(order)}change/")
        assert "ERP" not in read(operator, "/admin/shapes/plainorder/add/")

    def test_the_parent_of_an_order_shows_the_orders_webhooks(self, operator: Client) -> None:
        order = models.InvoiceOrder.objects.create()
        make_delivery(event=event_of(order), subscription=make_subscription(name="ERP"))
        for model in ("invoiceorder", "document"):
            assert "ERP" in read(operator, f"{page_of(order, model=model)}webhooks/")
        other = models.Document.objects.create()
        assert "It is not an order of the source “InvoiceOrder”." in read(operator, f"{page_of(other)}webhooks/")

    def test_a_site_with_the_stores_pages_alone_links_to_the_log_in_the_other_site(self, operator: Client) -> None:
        order = models.Purchase.objects.create()
        delivery = make_delivery(event=event_of(order), state="failed")
        url = page_of(order, site="shop")
        assert LINK.format(url) in read(operator, f"{url}change/")
        text = read(operator, f"{url}webhooks/")
        assert f"/admin/orderhooks/delivery/{delivery.pk}/change/" in text
        assert f'formaction="{url}webhooks/redeliver/"' in text
        assert 'href="/shop/shapes/purchase/"' in text
        assert "/orderhooks/dashboard/" not in text

    def test_the_check_names_an_admin_whose_model_no_source_describes(self, settings: Any) -> None:
        model_admin = store_site.site.get_model_admin(models.Purchase)
        assert model_admin.check() == []
        use(settings, "tests.shapes.sources.TextOrder")
        [found] = model_admin.check()
        assert (found.id, found.obj) == ("orderhooks.W070", store_site.PurchaseAdmin)
        assert "no order source describes this model" in found.msg
        assert "orderhooks_source shapes.Purchase" in str(found.hint)
        assert store_site.site.get_model_admin(Order).check() == []


class TestLinksBack:
    @pytest.mark.parametrize(
        "address", ["event/", "event/{event.pk}/change/", "delivery/", "delivery/{delivery.pk}/change/"]
    )
    def test_an_event_and_a_delivery_lead_to_the_stores_order(self, address: str) -> None:
        order = models.Purchase.objects.create()
        delivery = make_delivery(event=event_of(order))
        url = f"/admin/orderhooks/{address.format(event=delivery.event, delivery=delivery)}"
        link = f'<a href="{page_of(order)}change/">{order.pk}</a>'
        assert link in read(staff("view_event", "view_delivery", "view_purchase"), url)
        assert link not in read(staff("view_event", "view_delivery"), url)

    def test_the_page_of_an_order_number_leads_to_the_orders_of_that_number(self) -> None:
        order = models.Purchase.objects.create()
        event_of(order, order_number="1042")
        url = "/admin/orderhooks/dashboard/order/?number=1042"
        viewer, link = staff("view_delivery", "view_purchase"), f'<a href="{page_of(order)}change/">'
        assert link in read(viewer, url)
        assert link not in read(staff("view_delivery"), url)
        event_of(models.Purchase.objects.create(), order_number="1042")
        assert f"(Purchase, {order.pk})" in read(viewer, url)

    def test_an_admin_of_the_same_table_serves(self, operator: Client) -> None:
        order = models.PlainOrder.objects.create()
        event_of(order, source="ProxyOrder")
        assert f'<a href="{page_of(order)}change/">' in read(operator, "/admin/orderhooks/event/")

    @pytest.mark.parametrize(
        ("source", "order_pk"),
        [("Purchase", "999999"), ("Purchase", "9" * 30), ("Purchase", "A-1"), ("SerialOrder", "1"), ("gone", "1")],
    )
    def test_no_page_is_linked_of_an_order_that_was_deleted_or_that_has_none(
        self, operator: Client, source: str, order_pk: str
    ) -> None:
        order = models.Purchase.objects.create()
        event_of(order)
        models.SerialOrder.objects.create(pk=1)
        make_event(source=source, order_pk=order_pk, order_number="1042")
        text = read(operator, "/admin/orderhooks/event/")
        assert '<a href="/admin/orderhooks/dashboard/order/?number=1042">1042</a>' in text
        assert f'<a href="{page_of(order)}change/">' in text, "the others keep theirs"

    def test_an_admin_that_fails_leaves_the_log_readable(self, operator: Client, monkeypatch: Any, caplog: Any) -> None:
        def fail(*_arguments: Any) -> Any:
            raise RuntimeError("not now")

        event_of(models.Purchase.objects.create(), order_number="1042")
        monkeypatch.setattr(store_site.PurchaseAdmin, "get_queryset", fail)
        assert "dashboard/order/?number=1042" in read(operator, "/admin/orderhooks/event/")
        assert "PurchaseAdmin could not look for orders" in caplog.text

    def test_links_cost_a_query_for_each_source_however_many_rows(self, operator: Client) -> None:
        def grow(count: int) -> int:
            for number in range(count):
                event_of(models.Purchase.objects.create())
                event_of(models.TextOrder.objects.create(code=f"{count}-{number}"))
            with CaptureQueriesContext(connection) as captured:
                read(operator, "/admin/orderhooks/event/")
            return len(captured)

        grow(1)
        assert grow(2) == grow(7)


class TestTheBuiltInOrdersWithoutTheirSource:
    def test_they_have_no_pages(self, operator: Client) -> None:
        order = make_order()
        for path in ("", "add/", f"{order.pk}/change/", f"{order.pk}/webhooks/", f"{order.pk}/delete/"):
            assert operator.get(f"/admin/orderhooks/order/{path}").status_code == 404
        assert operator.post("/admin/orderhooks/order/", {"action": "delete_selected"}).status_code == 404
        assert operator.post(f"/admin/orderhooks/order/{order.pk}/webhooks/redeliver/").status_code == 404
        for index in ("/admin/", "/admin/orderhooks/"):
            text = read(operator, index)
            assert "/admin/orderhooks/event/" in text
            assert "/admin/orderhooks/order/" not in text

    def test_no_page_links_to_them(self, operator: Client) -> None:
        order = make_order(number="1042")
        delivery = make_delivery(event=make_event(order_pk=str(order.pk), order_number="1042"))
        for path in (
            "event/",
            f"event/{delivery.event.pk}/change/",
            "delivery/",
            f"delivery/{delivery.pk}/change/",
            "dashboard/",
            "dashboard/order/?number=1042",
            "subscription/",
        ):
            assert "/admin/orderhooks/order/" not in read(operator, f"/admin/orderhooks/{path}")

    @pytest.mark.parametrize("path", ["orderhooks.sources.BuiltInOrders", f"{__name__}.nowhere"])
    def test_they_are_back_with_their_source_and_stay_while_the_setting_is_wrong(
        self, settings: Any, operator: Client, path: str
    ) -> None:
        order = make_order()
        use(settings, path)
        assert "/admin/orderhooks/order/" in read(operator, "/admin/")
        read(operator, "/admin/orderhooks/order/")
        read(operator, f"/admin/orderhooks/order/{order.pk}/change/")
