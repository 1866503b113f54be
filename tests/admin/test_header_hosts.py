"""The admin's page of a subscription whose URL moves to another host: hidden values of headers do not go along."""

from typing import Any

import pytest

from orderhooks.models import Subscription
from tests.admin.test_subscriptions import subscription_form
from tests.admin.visits import history_of, page, staff
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db

HOME = "https://crm.example/hooks"
AWAY = "https://elsewhere.example/hooks"
DROPPED = "The value of 1 header was dropped: the URL has another host."


def save(client: Any, subscription: Subscription, **fields: Any) -> str:
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    form = subscription_form(topics="*", name=subscription.name, **fields)
    return client.post(path, {**form, "_continue": "1"}, follow=True).content.decode()


@pytest.mark.parametrize(
    ("url", "typed", "kept", "is_told"),
    [
        (HOME, "X-Key: (hidden)", {"X-Key": "tok_s3cr3t"}, False),
        ("https://crm.example/v2", "X-Key: (hidden)", {"X-Key": "tok_s3cr3t"}, False),
        (AWAY, "X-Key: (hidden)", {}, True),
        (AWAY, "X-Key: tok_new", {"X-Key": "tok_new"}, False),
        (AWAY, "X-Key: (hidden)\nX-Team: shop", {"X-Team": "shop"}, True),
        (AWAY, "", {}, False),
    ],
)
def test_another_host_gets_what_was_typed_for_it_alone(operator, url, typed, kept, is_told):
    subscription = make_subscription(url=HOME, headers={"X-Key": "tok_s3cr3t"})

    response = save(operator, subscription, url=url, headers=typed)

    subscription.refresh_from_db()
    assert (subscription.url, subscription.own_headers()) == (url, kept)
    assert ("was dropped: X-Key." in response) == is_told
    assert (DROPPED in [text for _by, text in history_of(subscription)]) == is_told


def test_who_may_not_reveal_secrets_gets_none_by_moving_the_url():
    subscription = make_subscription(url=HOME, headers={"X-Key": "tok_s3cr3t"})
    manager = staff("view_subscription", "change_subscription")

    save(manager, subscription, url=AWAY, headers="X-Key: (hidden)")

    subscription.refresh_from_db()
    assert (subscription.url, subscription.headers) == (AWAY, {})


@pytest.mark.parametrize(("headers", "is_said"), [({"X-Key": "tok_s3cr3t"}, True), ({}, False)])
def test_the_page_says_so_before_it_is_saved(operator, headers, is_said):
    subscription = make_subscription(url=HOME, headers=headers)
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert ("the hidden values of its headers are dropped" in text) == is_said
