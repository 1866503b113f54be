"""The page of an order's webhooks in Oscar's dashboard: who sees it, and what it shows."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from orderhooks import outbox
from orderhooks.models import Event
from tests.factories import make_subscription, make_user
from tests.oscar.orders import place

pytestmark = pytest.mark.django_db
ALL = ("order.view_order", "orderhooks.view_delivery")


def visitor(*names: str, is_staff: bool = True) -> Client:
    user = make_user(is_staff=is_staff)
    for name in names:
        label, codename = name.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def order() -> Any:
    make_subscription(name="warehouse", topics=["order.created"])
    order = place()
    outbox.coalesce_now("default")
    return order


def url_of(order: Any) -> str:
    return reverse("orderhooks_oscar:order-webhooks", args=[order.number])


def test_it_shows_what_came_of_the_orders_events(order) -> None:
    page = visitor(*ALL).get(url_of(order)).content.decode()
    assert Event.objects.get().topic == "order.created"
    assert "order.created" in page
    assert "warehouse" in page
    assert "about to be sent" in page
    assert f"#{order.number}" in page


def test_it_says_why_there_is_nothing() -> None:
    order = place()
    page = visitor(*ALL).get(url_of(order)).content.decode()
    assert "There is no subscription" in page


def test_of_another_order_it_shows_nothing(order) -> None:
    other = place()
    Event.objects.filter(order_number=str(other.number)).delete()
    assert "warehouse" not in visitor(*ALL).get(url_of(other)).content.decode()


@pytest.mark.parametrize(
    ("names", "is_staff", "status"),
    [
        (ALL, True, 200),
        (ALL[:1], True, 403),
        (ALL[1:], True, 403),
        ((), True, 403),
        (ALL, False, 403),
        (("partner.dashboard_access", "orderhooks.view_delivery"), False, 403),
    ],
)
def test_it_takes_the_permissions_for_the_order_and_for_deliveries(names, is_staff, status, order) -> None:
    assert visitor(*names, is_staff=is_staff).get(url_of(order)).status_code == status


def test_a_stranger_is_sent_to_log_in(order) -> None:
    response = Client().get(url_of(order))
    assert (response.status_code, response["Location"].split("?")[0]) == (302, reverse("dashboard:login"))


def test_an_order_that_is_not_there_is_not_found() -> None:
    assert visitor(*ALL).get(reverse("orderhooks_oscar:order-webhooks", args=["none"])).status_code == 404


@pytest.mark.parametrize(("names", "linked"), [(ALL, True), (ALL[:1], False)])
def test_oscars_page_of_the_order_links_to_it_for_those_who_may_see_it(names, linked, order) -> None:
    page = visitor(*names).get(reverse("dashboard:order-detail", args=[order.number]))
    assert (url_of(order) in page.content.decode()) is linked


def test_oscars_page_works_in_a_shop_that_has_not_included_it(order, settings) -> None:
    settings.ROOT_URLCONF = "tests.oscar.urls_without_webhooks"
    page = visitor(*ALL).get(reverse("dashboard:order-detail", args=[order.number]))
    assert page.status_code == 200
    assert "Webhooks of this order" not in page.content.decode()
