"""Users who are limited to stores: figures of the dashboard, the store's own orders, and the choice of a store."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from orderhooks import signal_handlers, stores
from orderhooks.db.distinct_texts import distinct_texts
from orderhooks.models import AttemptStats, CaptureFailure, Delivery, Event, Pump, Reconciliation
from tests import versioned
from tests.admin.shops import SETTING, Shops, make_shops, visitor
from tests.admin.visits import page, part
from tests.factories import make_backfill, make_delivery, make_event, make_order, make_subscription, make_user
from tests.shapes import models
from tests.shapes.sources import TOPICS, Purchase

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def setting(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}


@pytest.fixture
def shops(setting) -> Shops:
    return make_shops()


class TestTheDashboard:
    def test_counts_what_is_of_the_users_stores(self, shops) -> None:
        AttemptStats.objects.filter(subscription=shops.paris.subscription).update(count=500)
        for kind, attempts in (("berlin", "3"), ("nobody", "0"), ("unlimited", "503")):
            assert f"2xx: delivered: {attempts}<" in page(visitor(kind), "dashboard/")

    def test_counts_what_waits_of_the_users_stores(self, shops) -> None:
        make_event(store="paris", routed_at=None)
        make_event(store="berlin", routed_at=None)
        for kind, waiting, events in (("berlin", 1, 1), ("nobody", 0, 0), ("unlimited", 3, 2)):
            text = page(visitor(kind), "dashboard/")
            assert (f"Waiting: {waiting}<" in text) == bool(waiting)
            assert (f"{events} new event" in text) == bool(events)

    def test_shows_nobody_but_an_unlimited_user_which_changes_were_lost(self, shops) -> None:
        sentence = "Have somebody who sees all stores look at the dashboard."
        for kind in ("berlin", "nobody"):
            assert sentence in page(visitor(kind), "dashboard/")
        text = page(visitor("unlimited"), "dashboard/")
        assert "PARIS-PK" in text
        assert sentence not in text
        CaptureFailure.objects.all().delete()
        assert sentence not in page(visitor("berlin"), "dashboard/")

    def test_shows_everybody_that_no_worker_is_running(self) -> None:
        Pump.objects.all().delete()
        for kind in ("unlimited", "berlin", "nobody"):
            assert "No worker has ever been seen." in page(visitor(kind), "dashboard/")

    def test_can_be_narrowed_to_a_store_by_who_sees_several(self, shops) -> None:
        unlimited = visitor("unlimited")
        assert '<option value="paris">paris</option>' in page(unlimited, "dashboard/")
        text = page(unlimited, "dashboard/?store=paris")
        assert '<option value="paris" selected>' in text
        assert "PARIS CRM" in text
        assert "state__exact=pending&amp;store=paris" in text
        assert "BERLIN CRM" not in text
        # The figures are of one store, and the comparison is of all.
        assert "98,765" not in text
        assert Reconciliation.objects.exists()
        for kind in ("berlin", "nobody"):
            assert 'name="store"' not in page(visitor(kind), "dashboard/?store=paris")

    def test_says_of_an_order_number_what_is_of_the_users_stores(self, shops) -> None:
        make_order(store="paris", number="55")
        berlin = visitor("berlin")
        assert "No order 55 was found." in page(berlin, "dashboard/order/?number=55")
        # Older than that of Paris, which has the same number.
        Event.objects.filter(order_number="1001").delete()
        assert "Order 1001 was found." in page(berlin, "dashboard/order/?number=1001")
        assert "No order 1001 was found." in page(visitor("nobody"), "dashboard/order/?number=1001")


class TestLists:
    @pytest.mark.parametrize("record", ["order", "subscription", "event", "delivery", "replay", "backfill"])
    def test_can_be_narrowed_to_a_store_by_who_sees_several(self, shops, record) -> None:
        unlimited = visitor("unlimited")
        assert '<a href="?store=paris"' in page(unlimited, f"{record}/")
        text = page(unlimited, f"{record}/?store=paris")
        assert shops.paris.order.number in text or "PARIS CRM" in text
        rows = part(r"<tbody>.*</tbody>", text)
        # A delivery about an order in Paris went to a subscription that is of Berlin by now.
        assert "BERLIN" not in rows.replace("BERLIN CRM", "" if record == "delivery" else "BERLIN CRM")
        assert 'store=paris"' not in page(visitor("berlin"), f"{record}/")

    def test_a_store_that_no_database_takes_finds_nothing(self, shops) -> None:
        for record in ("event", "delivery", "subscription"):
            response = visitor("unlimited").get(f"/admin/orderhooks/{record}/?store=%00")
            assert response.context["cl"].result_count == 0

    def test_the_list_of_orders_counts_the_deliveries_of_the_users_subscriptions(self, shops) -> None:
        # One of them is a test.
        assert "2 failed" in part(r"<tbody>.*</tbody>", page(visitor("berlin"), "order/"))
        assert "3 failed" in part(r"<tbody>.*</tbody>", page(visitor("unlimited"), "order/"))

    def test_an_event_counts_the_deliveries_of_the_users_subscriptions(self, shops) -> None:
        path = f"event/{shops.berlin.event.pk}/change/"
        assert "1 delivery" in page(visitor("berlin"), path)
        assert "2 deliveries" in page(visitor("unlimited"), path)

    def test_the_orders_of_other_stores_are_not_counted_in_a_backfill(self, shops) -> None:
        make_backfill(subscription=shops.berlin.subscription, state="done", walked=98_765, finished_at=timezone.now())
        for kind, is_shown in (("berlin", False), ("unlimited", True)):
            rows = part(r"<tbody>.*</tbody>", page(visitor(kind), "backfill/"))
            assert bool(re.search("98.?765", rows)) == is_shown


def test_what_an_ordered_delivery_waits_for_is_linked_if_it_is_of_the_users_stores() -> None:
    ordered = make_subscription(store="berlin", ordered=True)
    for store, is_linked in (("paris", False), ("berlin", True)):
        first = make_delivery(event=make_event(store=store, order_pk=store), subscription=ordered, state="failed")
        second = make_delivery(event=make_event(store="berlin", order_pk=store), subscription=ordered)
        text = page(visitor("berlin"), f"delivery/{second.pk}/change/")
        assert (f"/admin/orderhooks/delivery/{first.pk}/change/" in text) == is_linked


def test_versions_are_compared_on_an_event_of_the_subscriptions_store(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    pinned = make_subscription(store="berlin", api_version=versioned.RENAMED)
    order = {"total": {"amount": "1", "currency": "EUR"}}
    for store in ("berlin", "paris"):
        payload = {"order": {**order, "number": f"of {store}"}, "changes": {}}
        make_delivery(event=make_event(store=store, payload=payload, api_version=versioned.NESTED), subscription=pinned)
    for kind in ("berlin", "unlimited"):
        move = visitor(kind).get(f"/admin/orderhooks/subscription/{pinned.pk}/versions/").context["move"]
        assert Event.objects.get(public_id=move.event).store == "berlin"


def test_versions_that_are_gone_are_offered_for_the_users_subscriptions(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    make_subscription(store="paris", api_version="2020-02-02")
    assert "2020-02-02" in page(visitor("unlimited"), "subscription/")
    assert "2020-02-02" not in page(visitor("berlin"), "subscription/")


class ByField(Purchase):
    """Each address is a store."""

    store_field = "delivery_id"


class ByMethod(Purchase):
    def store(self, order: Any) -> str:
        return str(order.delivery_id)

    def of_stores(self, orders: Any, stores: Any) -> Any:
        return orders.filter(delivery__in=[store for store in stores if store.isdecimal()])


class ByMethodAlone(Purchase):
    store = ByMethod.store


class TestTheStoresOwnOrders:
    """The admin of a model of the store, with OrderWebhooksMixin."""

    @pytest.fixture
    def addresses(self, monkeypatch) -> tuple[int, int]:
        mine, other = models.Address.objects.create(), models.Address.objects.create()
        monkeypatch.setitem(visits, "stores", [str(mine.pk), "no number"])
        return mine.pk, other.pk

    def use(self, settings: Any, source: type) -> Client:
        paths = [f"{__name__}.{source.__name__}"]
        settings.ROOT_URLCONF = "tests.admin.store_site"
        settings.ORDERHOOKS = {
            **settings.ORDERHOOKS,
            "STORES_FOR_USER": f"{__name__}.stores_of_visitor",
            "SOURCES": paths,
            "TOPICS": TOPICS,
        }
        signal_handlers.connect()
        user = make_user("view_delivery", "redeliver_delivery", "view_event", is_staff=True)
        user.user_permissions.add(*Permission.objects.filter(codename__in=["view_purchase", "change_purchase"]))
        client = Client()
        client.force_login(user)
        return client

    @pytest.mark.parametrize(("source", "sees"), [(ByField, True), (ByMethod, True), (ByMethodAlone, False)])
    def test_are_those_that_the_source_finds(self, settings, addresses, source, sees) -> None:
        client = self.use(settings, source)
        mine, other = (models.Purchase.objects.create(delivery_id=pk) for pk in addresses)
        text = client.get("/admin/shapes/purchase/").content.decode()
        for order, is_there in ((mine, sees), (other, False)):
            base = f"/admin/shapes/purchase/{order.pk}/"
            assert (f"{base}change/" in text) == is_there
            assert client.get(f"{base}change/").status_code == (200 if is_there else 302)
            assert client.get(f"{base}webhooks/").status_code == (200 if is_there else 404)

    def test_what_happened_in_another_store_is_neither_shown_nor_sent_again(self, settings, addresses) -> None:
        client = self.use(settings, ByField)
        mine, other = map(str, addresses)
        order = models.Purchase.objects.create(delivery_id=addresses[0])
        about = {"source": "Purchase", "order_pk": str(order.pk)}
        subscription, of_all = make_subscription(store=mine, name="MINE"), make_subscription(name="EVERYTHING")
        chosen = make_delivery(event=make_event(**about, store=mine), subscription=subscription, state="failed")
        others = [
            make_delivery(event=chosen.event, subscription=of_all, state="failed"),
            make_delivery(event=make_event(**about, store=other), subscription=subscription, state="failed"),
        ]
        url = f"/admin/shapes/purchase/{order.pk}/webhooks/"
        text = client.get(url).content.decode()
        assert "MINE" in text
        assert "EVERYTHING" not in text
        assert [one.pk for one in others if f"/delivery/{one.pk}/" in text] == []
        client.post(f"{url}redeliver/")
        assert Delivery.objects.get(pk=chosen.pk).state == "pending"
        assert set(Delivery.objects.filter(pk__in=[one.pk for one in others]).values_list("state", flat=True)) == {
            "failed"
        }


visits: dict[str, list[str]] = {"stores": []}


def stores_of_visitor(_user: User) -> list[str]:
    """The setting STORES_FOR_USER."""
    return visits["stores"]


def one_text(_user: User) -> str:
    """A setting STORES_FOR_USER that is wrong."""
    return "berlin"


def test_a_function_that_returns_a_text_opens_no_store(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": f"{__name__}.one_text"}
    with pytest.raises(TypeError, match="Have it return a list of stores, such as"):
        stores.order_stores_of(make_user())


def test_a_user_who_manages_all_subscriptions_sees_all_stores() -> None:
    for user in (make_user("manage_all_subscriptions"), make_user(is_superuser=True)):
        assert stores.order_stores_of(user) is None


class TestDistinctTexts:
    def test_are_found_each_once_up_to_a_number(self) -> None:
        for store in ("paris", "", "berlin", "rome", "paris", "berlin"):
            make_event(store=store)
        using = Event.objects.db
        assert distinct_texts(Event, "store", at_most=100, using=using) == ["berlin", "paris", "rome"]
        assert distinct_texts(Event, "store", at_most=2, using=using) == ["berlin", "paris"]

    def test_of_no_rows_are_none(self) -> None:
        make_event(store="")
        assert distinct_texts(Event, "store", at_most=100, using=Event.objects.db) == []

    def test_sqlite_finds_them_by_the_partial_index(self) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("reads SQLite's plan; see tests/admin/test_store_plans.py for PostgreSQL")
        make_event(store="berlin")
        with connection.cursor() as cursor:
            cursor.execute(
                "EXPLAIN QUERY PLAN SELECT store FROM orderhooks_event WHERE store > 'a' AND NOT (store = '')"
                " ORDER BY store LIMIT 1"
            )
            assert "orderhooks_event_store" in str(cursor.fetchall())


def test_a_figure_of_a_day_is_of_the_users_subscriptions(shops) -> None:
    # A row is left behind if its subscription was just deleted.
    AttemptStats.objects.create(
        subscription_id=10**6, hour=timezone.now() - timedelta(hours=1), outcome="2xx", bucket=1, count=1000
    )
    assert "1,000" not in page(visitor("berlin"), "dashboard/")
