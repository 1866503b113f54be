"""Who may try the choices of a subscription."""

import pytest

from tests.admin.visits import page, staff
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db

SEES_EVENTS = ("view_event", "view_payload")


@pytest.mark.parametrize(
    ("permissions", "of_stored", "of_new"),
    [
        (("add_subscription",), 403, 200),
        (("add_subscription", "view_subscription"), 200, 200),
        (("change_subscription",), 200, 200),
        (("view_subscription",), 403, 403),
        (("delete_subscription",), 403, 403),
    ],
)
def test_the_choices_of_a_stored_subscription_are_tried_by_who_sees_it(permissions, of_stored, of_new) -> None:
    subscription = make_subscription(name="CRM", filter="data.order.currency == 'EUR'")
    client = staff(*permissions, *SEES_EVENTS)
    assert page(client, "subscription/try/", status=of_new)
    assert ("EUR" in page(client, f"subscription/{subscription.pk}/try/", status=of_stored)) == (of_stored == 200)
    assert client.post(f"/admin/orderhooks/subscription/{subscription.pk}/try/", {}).status_code == of_stored
    # No error says which subscriptions there are.
    if of_new == 403:
        page(client, "subscription/999999/try/", status=403)
