"""The page of feed consumers: how far behind each is, for people who only look."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.visits import text_of
from tests.factories import make_consumer, make_event_at, make_subscription, make_user

pytestmark = pytest.mark.django_db

LIST = "/admin/orderhooks/feedconsumer/"


@pytest.fixture
def oldest():
    return timezone.now() - timedelta(hours=3)


def test_the_list_shows_how_far_behind_each_is_and_when_it_last_read(admin_client, oldest):
    user = make_user("manage_all_subscriptions")
    acknowledged = make_event_at(oldest - timedelta(hours=1)).sequence
    for minutes in (0, 5):
        make_event_at(oldest + timedelta(minutes=minutes))
    make_consumer(name="erp", user=user, acknowledged=acknowledged, last_read_at=timezone.now() - timedelta(minutes=2))
    text = text_of(admin_client.get(LIST))
    for part in ("erp", user.get_username(), "2 events, 3 h 0 min", "2 min ago", "all events that the user may see"):
        assert part in text


def test_the_page_of_a_consumer_says_what_it_missed(admin_client):
    subscription = make_subscription(name="The ERP")
    consumer = make_consumer(subscription=subscription, missed=1312, acknowledged=5)
    response = admin_client.get(f"{LIST}{consumer.pk}/change/")
    text = text_of(response)
    assert "1,312 events, deleted before they were acknowledged" in text
    assert f'href="/admin/orderhooks/subscription/{subscription.pk}/change/">The ERP</a>' in response.content.decode()
    assert "never" in text


def test_a_consumer_that_has_all_is_behind_by_nothing(admin_client, oldest):
    make_consumer(acknowledged=make_event_at(oldest).sequence)
    assert "nothing" in text_of(admin_client.get(LIST))


def test_nobody_edits_a_consumer(admin_client):
    consumer = make_consumer()
    for page in ("add/", f"{consumer.pk}/delete/"):
        assert admin_client.get(LIST + page).status_code == 403
    assert admin_client.post(f"{LIST}{consumer.pk}/change/", {"acknowledged": 9}).status_code == 403


def test_the_link_to_the_subscription_is_for_those_who_may_open_it(client):
    consumer = make_consumer(subscription=make_subscription(name="The ERP"))
    client.force_login(make_user("view_feedconsumer", is_staff=True))
    page = client.get(f"{LIST}{consumer.pk}/change/").content.decode()
    assert "The ERP" in page
    assert "/admin/orderhooks/subscription/" not in page
