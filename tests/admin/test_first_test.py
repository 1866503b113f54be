"""After a subscription has been added, the page with its secret offers a test of it."""

import pytest

from orderhooks.models import Attempt
from tests.admin.test_subscriptions import subscription_form
from tests.admin.visits import staff

pytestmark = pytest.mark.django_db


def test_the_page_of_a_new_secret_offers_the_test(operator, receiver) -> None:
    response = operator.post("/admin/orderhooks/subscription/add/", subscription_form(url=receiver.url))
    address = response.context["to_test"]
    assert f'<form method="post" action="{address}">' in response.content.decode()
    assert "It arrived." in operator.post(address).content.decode()
    assert Attempt.objects.get().status_code == 200


def test_who_may_not_test_is_offered_none() -> None:
    client = staff("add_subscription", "view_subscription")
    response = client.post("/admin/orderhooks/subscription/add/", subscription_form())
    assert response.context["to_test"] == ""
