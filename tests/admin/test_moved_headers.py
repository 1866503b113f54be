"""A subscription's hidden header values are not sent to an address that they were not given for."""

import pytest

from orderhooks.models import Subscription
from tests.admin.visits import history_of, page, staff
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db

HEADERS = {"Authorization": "Bearer of-the-warehouse", "x-plain": "b"}


def move(client, subscription: Subscription, url: str, headers: str) -> str:
    address = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    form = client.get(address).context["adminform"].form
    sent = {name: "" if form[name].value() is None else form[name].value() for name in form.fields}
    sent |= {"topics": ["*"], "url": url, "headers": headers}
    sent = {name: value for name, value in sent.items() if value is not False}
    response = client.post(address, sent, follow=True)
    assert response.redirect_chain, response.context["errors"]
    return response.content.decode()


def test_another_host_gets_no_hidden_value_and_the_page_says_so() -> None:
    subscription = make_subscription(url="http://127.0.0.1:8009/a", headers=HEADERS)
    client = staff("view_subscription", "change_subscription")
    hidden = "Authorization: (hidden)\nx-plain: (hidden)"
    text = move(client, subscription, "http://127.0.0.1:8010/a", hidden)
    assert Subscription.objects.get().headers == {}
    assert "were given for the former one and were dropped: Authorization, x-plain." in text
    history = " ".join(text for _user, text in history_of(subscription))
    assert "were dropped" in history
    assert "of-the-warehouse" not in history + page(client, f"subscription/{subscription.pk}/history/")


def test_what_is_typed_again_goes_along() -> None:
    subscription = make_subscription(url="http://127.0.0.1:8009/a", headers=HEADERS)
    client = staff("view_subscription", "change_subscription")
    text = move(client, subscription, "http://127.0.0.1:8010/a", "Authorization: Bearer new\nx-plain: (hidden)")
    assert list(Subscription.objects.get().headers) == ["Authorization"]
    assert "was given for the former one and was dropped: x-plain." in text


def test_another_path_of_the_same_host_keeps_them() -> None:
    subscription = make_subscription(url="http://127.0.0.1:8009/a", headers=HEADERS)
    client = staff("view_subscription", "change_subscription")
    text = move(client, subscription, "http://127.0.0.1:8009/b", "Authorization: (hidden)\nx-plain: (hidden)")
    assert list(Subscription.objects.get().headers) == list(HEADERS)
    assert "dropped" not in text
