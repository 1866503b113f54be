"""Erasures in the admin: a form, the count, a confirmation, the progress; and which users may."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from orderhooks import operations
from orderhooks.models import Erasure, Event, Order
from orderhooks.payloads import REDACTED
from tests.admin.shops import SETTING, make_shops, visitor
from tests.admin.visits import history_of, page, staff
from tests.erasures import ADA, VALUES, ada_ordered, left_of, pump
from tests.factories import make_erasure, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/orderhooks/erasure/add/"


def form(**fields: str) -> dict[str, str]:
    return {"customer": "", "order": "", "store": "", **fields}


def test_it_counts_first_and_erases_nothing(operator) -> None:
    make_subscription()
    order = ada_ordered()
    text = operator.post(ADD, form(customer=ADA)).content.decode()

    assert "The personal data of <strong>1 order</strong> would be erased." in text
    assert f"Events: {Event.objects.count()}<" in text
    assert f"Orders: {order.number}<" in text
    assert "hold some: billing_address" in text
    assert not Erasure.objects.exists()
    assert left_of([ADA])


def test_the_confirmation_says_that_a_customers_orders_may_become_more(operator) -> None:
    make_subscription()
    order = ada_ordered()
    later = "Orders of this address that come before you press the button are erased too."
    assert later in operator.post(ADD, form(customer=ADA)).content.decode()
    assert later not in operator.post(ADD, form(order=order.number)).content.decode()


def test_confirmed_a_worker_erases_and_the_history_says_who(operator) -> None:
    make_subscription(state="paused")
    ada_ordered()
    response = operator.post(ADD, form(customer=ADA, confirm="1"), follow=True)

    erasure = Erasure.objects.get()
    assert response.request["PATH_INFO"] == f"/admin/orderhooks/erasure/{erasure.pk}/change/"
    assert response["refresh"]
    assert "0 of 1 orders erased" in response.content.decode()
    pump()
    assert left_of(VALUES) == []
    text = page(operator, f"erasure/{erasure.pk}/change/")
    assert "1 of 1 orders erased" in text
    [(name, _message)] = history_of(erasure)
    assert (name, erasure.requested_by) == (name, name)


def test_nothing_in_the_history_holds_the_address(operator) -> None:
    make_subscription()
    ada_ordered()
    operator.post(ADD, form(customer=ADA, confirm="1"))

    entries = LogEntry.objects.values_list("object_repr", "change_message")
    assert entries
    assert not [text for entry in entries for text in entry if "ada" in text.lower()]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Say whose data is to be erased"),
        ({"customer": "ada"}, "Enter a valid email address."),
        ({"customer": ADA}, f"Nothing is stored of {ADA}."),
        ({"order": "404"}, "Nothing is stored of the order 404."),
        (
            {"customer": ADA, "store": "nix"},
            f"Of the store nix, nothing is stored of {ADA}. No stored order of the store nix contains this address;",
        ),
    ],
)
def test_what_is_not_possible_is_an_error_of_the_form(operator, fields: dict[str, Any], text: str) -> None:
    assert text in operator.post(ADD, form(**fields, confirm="1")).content.decode()
    assert not Erasure.objects.exists()


def test_change_leads_back_to_the_form_with_what_was_typed(operator) -> None:
    make_subscription()
    ada_ordered()
    text = operator.post(ADD, form(customer=ADA, again="1")).content.decode()
    assert f'value="{ADA}"' in text
    assert "Count what would be erased" in text


def test_the_list_begins_with_the_time_and_the_orders(operator) -> None:
    make_erasure(orders=[{"number": str(number), "order_pk": str(number)} for number in range(1042, 1047)])
    text = page(operator, "erasure/")
    columns = re.findall(r'class="(?:nowrap )?field-(\w+)', text)
    assert (columns[:2], columns[-1]) == (["created_at", "few_numbers"], "public_id")
    assert "1042, 1043, 1044 and 2 more" in text


def test_a_link_fills_the_form(operator) -> None:
    assert 'value="1042"' in page(operator, "erasure/add/?order=1042")


@pytest.mark.parametrize(
    ("permissions", "address", "status"),
    [
        ([], "erasure/", 403),
        (["view_erasure"], "erasure/", 200),
        (["view_erasure"], "erasure/add/", 403),
        (["erase_personal_data"], "erasure/add/", 200),
        (["erase_personal_data"], "erasure/", 403),
        (["view_order", "change_order", "redeliver_delivery", "view_payload", "add_erasure"], "erasure/add/", 403),
        (["view_erasure"], "erasure/{erasure.pk}/change/", 200),
        (["erase_personal_data"], "erasure/{erasure.pk}/change/", 403),
        (["delete_erasure", "view_erasure"], "erasure/{erasure.pk}/delete/", 403),
    ],
)
def test_each_page_takes_its_permission(permissions: list[str], address: str, status: int) -> None:
    page(staff(*permissions), address.format(erasure=make_erasure()), status)


def test_without_the_permission_to_see_it_the_start_is_reported() -> None:
    make_subscription()
    ada_ordered()
    client = staff("erase_personal_data")
    text = client.post(ADD, form(customer=ADA, confirm="1"), follow=True).content.decode()
    assert f"Erasure {Erasure.objects.get().public_id} has begun." in text


@pytest.mark.parametrize(
    ("kind", "field"), [("berlin", '<select name="store"'), ("unlimited", '<input type="text" name')]
)
def test_a_user_of_some_stores_chooses_among_them(settings, kind: str, field: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    make_shops()
    text = page(visitor(kind), "erasure/add/")
    assert field in text
    assert ("Blank: any of your stores." in text, "Blank: any store." in text) == (
        kind == "berlin",
        kind == "unlimited",
    )
    refused = visitor(kind).post(ADD, form(customer=ADA, store="munich", confirm="1")).content.decode()
    assert ("Choose one of your stores: berlin." in refused) == (kind == "berlin")


@pytest.mark.parametrize(("kind", "count"), [("berlin", 1), ("nobody", 0), ("unlimited", 2)])
def test_a_user_of_some_stores_erases_only_orders_of_them(settings, kind: str, count: int) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    make_shops()
    Order.objects.exclude(number="1001").update(customer_email=ADA)
    before = Erasure.objects.count()
    visitor(kind).post(ADD, form(customer=ADA, confirm="1"))

    for erasure in Erasure.objects.running():
        list(operations.carry_out(erasure))
    assert Erasure.objects.count() - before == (count > 0)
    assert Event.objects.filter(topic=REDACTED).count() == count


@pytest.mark.parametrize(("kind", "is_shown"), [("berlin", False), ("unlimited", True)])
def test_a_user_of_some_stores_sees_no_counts_of_what_subscriptions_got(settings, kind: str, is_shown: bool) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    shops = make_shops()
    counted = visitor(kind).post(ADD, form(order="BERLIN-7")).content.decode()
    done = page(visitor(kind), f"erasure/{shops.berlin.erasure.pk}/change/")

    assert "Events: 4<" in counted
    assert "field-events" in done
    for text, field in (("Deliveries:", "field-deliveries"), ("Attempts, whose", "field-attempts")):
        assert (text in counted, field in done) == (is_shown, is_shown)


def test_two_users_of_other_stores_do_not_share_a_running_erasure() -> None:
    make_subscription()
    ada_ordered(store="berlin")
    ada_ordered(store="paris")
    everything = operations.erase(customer=ADA)

    assert [one["store"] for one in operations.preview_erasure(customer=ADA, stores=["berlin"]).orders] == ["berlin"]
    assert operations.preview_erasure(customer=ADA) == everything
