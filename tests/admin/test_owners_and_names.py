"""Owners and names of subscriptions: who may learn and choose other users, and what a name may hold."""

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError

from orderhooks.models import Subscription
from orderhooks.models.configuration import validate_name
from tests.admin.shops import SETTING, make_shops
from tests.admin.visits import client_of, errors_of, page, staff
from tests.factories import make_subscription, make_user

pytestmark = pytest.mark.django_db
FORM = {
    "name": "CRM",
    "url": "https://crm.example/",
    "topics": "*",
    "format": "standard",
    "signature": "standard",
    "authentication": "none",
}
MAY_CHANGE = ("view_subscription", "change_subscription")


def test_owners_are_shown_to_those_who_may_see_users():
    owner = make_user()
    subscription = make_subscription(owner=owner)
    other = make_user()
    url = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    client = staff(*MAY_CHANGE)
    name = owner.username
    assert name not in page(client, f"subscription/{subscription.pk}/change/")
    assert client.post(url, {**FORM, "owner": other.pk}).status_code == 302
    assert Subscription.objects.get().owner == subscription.owner
    user = make_user(*MAY_CHANGE, is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    seeing = client_of(user)
    assert name in page(seeing, f"subscription/{subscription.pk}/change/")
    assert seeing.post(url, {**FORM, "owner": other.pk}).status_code == 302
    assert Subscription.objects.get().owner == other


def test_the_owner_is_a_user_of_ones_own_stores(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    subscription = make_shops().berlin.subscription
    user = make_user(*MAY_CHANGE, is_staff=True, first_name="berlin")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    stranger, colleague = make_user(first_name="nobody"), make_user(first_name="berlin")
    form = {**FORM, "store": "berlin"}
    path = f"subscription/{subscription.pk}/change/"
    assert set(errors_of(client_of(user), path, {**form, "owner": stranger.pk})) == {"owner"}
    assert client_of(user).post(f"/admin/orderhooks/{path}", {**form, "owner": colleague.pk}).status_code == 302


@pytest.mark.parametrize("name", ["a\nb", "CRM \u202edne", "\u2066x", "a\u2028b", "\x00"])
def test_a_name_has_no_control_characters(name):
    with pytest.raises(ValidationError, match="control character"):
        Subscription.create_with_secret(name=name, url="https://crm.example/", topics=["*"])
    validate_name("Zoë’s Café 👩‍🚀 שלום")
