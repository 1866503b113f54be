"""Hidden values of headers are never sent to a host that they were not given for, wherever the URL is changed."""

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command

from orderhooks import operations
from orderhooks.encryption import HIDDEN
from orderhooks.models import Subscription
from orderhooks.models.header_hosts import origin_of
from tests.api.calls import EVERYTHING, client_with, errors_of, patch
from tests.factories import make_subscription, make_user

pytestmark = pytest.mark.django_db
HOME = "http://127.0.0.1:8000/crm"
KEY = {"X-Api-Key": "the receiver's own"}


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://127.0.0.1:8000/other?x=1", True),
        ("HTTP://127.0.0.1:8000/crm", True),
        ("http://127.0.0.1:8001/crm", False),
        ("https://127.0.0.1:8000/crm", False),
        ("http://127.0.0.2:8000/crm", False),
        ("http://127.0.0.1:8000.example.com/crm", False),
        ("not a url", False),
    ],
)
def test_another_path_is_the_same_origin_and_another_port_is_not(url, same):
    assert (origin_of(url) == origin_of(HOME)) is same


def by_saving(subscription: Subscription, url: str) -> None:
    subscription.url = url
    subscription.save()


def by_saving_the_url_alone(subscription: Subscription, url: str) -> None:
    subscription.url = url
    subscription.save(update_fields=["url"])


def by_saving_the_url_alone_of_an_emptied_instance(subscription: Subscription, url: str) -> None:
    if origin_of(url) != origin_of(HOME):
        subscription.headers = {}
    subscription.url = url
    subscription.save(update_fields=["url"])


def by_a_row_without_its_headers(subscription: Subscription, url: str) -> None:
    row = Subscription.objects.only("name").get(pk=subscription.pk)
    row.url = url
    row.save()


def by_reconfiguring(subscription: Subscription, url: str) -> None:
    operations.reconfigure(subscription, {"url": url, "headers": dict(subscription.headers)})


def by_the_api(subscription: Subscription, url: str) -> None:
    assert patch(client_with(*EVERYTHING), f"/subscriptions/{subscription.public_id}/", {"url": url}).status_code == 200


WAYS = [
    by_saving,
    by_saving_the_url_alone,
    by_saving_the_url_alone_of_an_emptied_instance,
    by_a_row_without_its_headers,
    by_reconfiguring,
    by_the_api,
]


@pytest.mark.parametrize("change", WAYS)
def test_another_host_gets_none_of_the_values(change):
    subscription = make_subscription(url=HOME, headers=KEY)

    change(Subscription.objects.get(pk=subscription.pk), "http://127.0.0.2:8000/crm")

    subscription.refresh_from_db()
    assert subscription.url == "http://127.0.0.2:8000/crm"
    assert subscription.headers == {}


@pytest.mark.parametrize("change", WAYS)
def test_the_same_host_keeps_them(change):
    subscription = make_subscription(url=HOME, headers=KEY)

    change(Subscription.objects.get(pk=subscription.pk), "http://127.0.0.1:8000/other")

    subscription.refresh_from_db()
    assert subscription.own_headers() == KEY


def test_a_value_that_is_given_again_goes_along():
    subscription = make_subscription(url=HOME, headers={**KEY, "X-Shop": "tea"})
    change = {"url": "http://127.0.0.2/crm", "headers": KEY}

    answer = patch(client_with(*EVERYTHING), f"/subscriptions/{subscription.public_id}/", change)

    assert answer.status_code == 200
    subscription.refresh_from_db()
    assert subscription.own_headers() == KEY


def test_a_hidden_value_for_another_host_is_refused():
    subscription = make_subscription(url=HOME, headers=KEY)
    change = {"url": "http://127.0.0.2/crm", "headers": {"x-api-key": HIDDEN}}

    answer = patch(client_with(*EVERYTHING), f"/subscriptions/{subscription.public_id}/", change)

    assert answer.status_code == 422
    assert "another host" in errors_of(answer)["/headers"]
    assert Subscription.objects.get().url == HOME


def test_the_history_says_that_values_were_dropped_and_shows_none():
    subscription = make_subscription(url=HOME, headers=KEY)

    by_the_api(subscription, "http://127.0.0.2/crm")

    [entry] = LogEntry.objects.all()
    assert "value of 1 header was dropped" in entry.change_message
    assert "X-Api-Key" not in entry.change_message


def test_a_file_gives_its_values_for_the_url_that_it_names(tmp_path):
    make_subscription(name="CRM", url=HOME, headers=KEY)
    file = tmp_path / "subscriptions.toml"
    file.write_text(
        '[[subscriptions]]\nname = "CRM"\nurl = "http://127.0.0.2/crm"\ntopics = ["*"]\n'
        'headers = {"X-Api-Key" = "the receiver\'s own"}\n'
    )

    call_command("orderhooks_apply", str(file), verbosity=0)

    assert Subscription.objects.get().own_headers() == KEY


def test_a_declaration_never_takes_over_what_somebody_else_owns():
    owner = make_user("view_subscription", "change_subscription")
    subscription = make_subscription(name="CRM", url=HOME, store="tea", owner=owner)
    body = {"url": HOME, "topics": ["*"], "headers": KEY}
    manager = client_with(*EVERYTHING)

    answer = manager.put("/api/subscriptions/by-name/CRM/", body, format="json")

    assert answer.status_code == 409
    assert subscription.public_id in answer.data["detail"]
    subscription.refresh_from_db()
    assert (subscription.headers, subscription.store, subscription.owner) == ({}, "tea", owner)


@pytest.mark.parametrize("owned", [True, False])
def test_a_declaration_changes_ones_own_and_what_nobody_owns_beside_others(owned):
    manager = client_with(*EVERYTHING)
    user_id = int(manager.session["_auth_user_id"])
    make_subscription(name="CRM", owner=make_user())
    mine = make_subscription(name="CRM", owner_id=user_id if owned else None)

    answer = manager.put("/api/subscriptions/by-name/CRM/", {"url": HOME, "topics": ["*"]}, format="json")

    assert (answer.status_code, answer.data["public_id"]) == (200, mine.public_id)


def test_a_file_never_takes_over_what_somebody_owns(tmp_path):
    subscription = make_subscription(name="CRM", url=HOME, owner=make_user())
    file = tmp_path / "subscriptions.toml"
    file.write_text('[[subscriptions]]\nname = "CRM"\nurl = "http://127.0.0.2/crm"\ntopics = ["*"]\n')

    with pytest.raises(Exception, match=subscription.public_id):
        call_command("orderhooks_apply", str(file), verbosity=0)

    assert Subscription.objects.get().url == HOME
