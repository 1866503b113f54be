"""Who may call what."""

import pytest
from rest_framework.test import APIClient

from orderhooks.models import Delivery
from tests.api.calls import EVERYTHING, client_with, post
from tests.factories import make_delivery, make_order

pytestmark = pytest.mark.django_db

ACCESS = [
    # method, path, the permission it takes, the status with it
    ("get", "/orders/", "view_order", 200),
    ("post", "/orders/", "add_order", 201),
    ("get", "/orders/{order}/", "view_order", 200),
    ("put", "/orders/{order}/", "change_order", 200),
    ("patch", "/orders/{order}/", "change_order", 200),
    ("delete", "/orders/{order}/", "delete_order", 204),
    ("get", "/subscriptions/", "view_subscription", 200),
    ("post", "/subscriptions/", "add_subscription", 201),
    ("get", "/subscriptions/{subscription}/", "view_subscription", 200),
    ("put", "/subscriptions/{subscription}/", "change_subscription", 200),
    ("patch", "/subscriptions/{subscription}/", "change_subscription", 200),
    ("delete", "/subscriptions/{subscription}/", "delete_subscription", 204),
    ("get", "/deliveries/", "view_delivery", 200),
    ("get", "/deliveries/{delivery}/", "view_delivery", 200),
    ("post", "/deliveries/{delivery}/redeliver/", "redeliver_delivery", 202),
    ("get", "/events/", "view_event", 200),
    ("get", "/events/{event}/", "view_event", 200),
    ("get", "/topics/", None, 200),
    ("head", "/orders/", "view_order", 200),
]


@pytest.mark.parametrize(("method", "path", "permission", "status"), ACCESS)
def test_an_endpoint_takes_a_login_and_the_permission(method, path, permission, status):
    delivery = make_delivery(state=Delivery.State.FAILED)
    path = "/api" + path.format(
        order=make_order().public_id,
        subscription=delivery.subscription.public_id,
        delivery=delivery.public_id,
        event=delivery.event.public_id,
    )
    body = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["*"]}

    def call(client: APIClient) -> int:
        data = None if method in ("get", "head") else body
        return getattr(client, method)(path, data, format=None if data is None else "json").status_code

    others = [one for one in EVERYTHING if one != permission]
    assert call(APIClient()) in (401, 403)
    assert call(client_with(*others)) == (403 if permission else status)
    assert call(client_with(*([permission] if permission else []))) == status


@pytest.mark.parametrize("path", ["/events/", "/deliveries/", "/topics/"])
def test_the_log_and_the_catalogue_can_not_be_written(api, path):
    assert post(api, path, {}).status_code == 405


@pytest.mark.parametrize("record", ["events", "deliveries"])
@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_record_of_the_log_can_not_be_changed(api, record, method):
    delivery = make_delivery()
    public_id = (delivery.event if record == "events" else delivery).public_id
    assert getattr(api, method)(f"/api/{record}/{public_id}/", {}, format="json").status_code == 405
