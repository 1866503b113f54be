"""A list whose URL names a page that is not there shows its last page, with the filters of the URL."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from orderhooks.models import Delivery, Event, Order, Replay, Subscription
from tests.factories import make_delivery, make_event, make_order, make_replay, make_subscription

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("number", ["2", "50", "0", "-1"])
def test_filters_stay_where_the_page_is_not_there(operator: Client, monkeypatch: Any, number: str) -> None:
    monkeypatch.setattr(admin.site.get_model_admin(Delivery), "list_per_page", 2)
    subscription = make_subscription()
    first, *_ = [make_delivery(subscription=subscription, event=make_event()) for _ in range(3)]
    failed = make_delivery(subscription=subscription, event=make_event(), state="failed")
    response = operator.get(f"/admin/orderhooks/delivery/?state__exact=pending&p={number}")
    assert response.status_code == 200
    text = response.content.decode()
    assert re.findall(r"delivery/(\d+)/change/", text) == [str(first.pk)], "the last page is of one, the oldest"
    assert f"delivery/{failed.pk}/" not in text
    assert "No row can have the value" not in text
    assert response.context["cl"].page_num == 2


@pytest.mark.parametrize(
    ("model", "make"),
    [
        (Order, make_order),
        (Event, make_event),
        (Subscription, make_subscription),
        (Replay, make_replay),
    ],
)
def test_every_list_shows_its_last_page(operator: Client, monkeypatch: Any, model: Any, make: Any) -> None:
    monkeypatch.setattr(admin.site.get_model_admin(model), "list_per_page", 1)
    make()
    make()
    response = operator.get(f"/admin/orderhooks/{model._meta.model_name}/?p=50")
    assert response.status_code == 200
    assert (response.context["cl"].page_num, len(response.context["cl"].result_list)) == (model.objects.count(), 1)


def test_a_list_still_names_a_value_that_no_row_can_have(operator: Client) -> None:
    make_delivery()
    response = operator.get("/admin/orderhooks/delivery/?event__exact=x&p=50", follow=True)
    assert "No row can have the value that the URL names" in response.content.decode()
