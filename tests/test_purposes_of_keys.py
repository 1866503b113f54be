"""Each key has one use: what is encrypted for one purpose opens for no other, and stored secrets open for no cursor."""

import itertools
import logging
from base64 import b64encode
from urllib.parse import urlencode

import pytest
from django.core.management import call_command

from orderhooks import encryption
from orderhooks.encryption import Purpose, UndecryptableError
from orderhooks.models import Order, SubscriptionSecret
from tests.api.calls import EVERYTHING, client_with
from tests.factories import make_subscription

TEXT = "a secret text"
LISTS = ["orders", "events", "subscriptions", "deliveries", "replays", "backfills"]


@pytest.mark.parametrize(("made_for", "opened_for"), list(itertools.product(Purpose, Purpose)))
def test_a_text_opens_for_its_own_purpose_alone(made_for, opened_for):
    token = encryption.encrypt(TEXT, made_for)

    if made_for is opened_for:
        assert encryption.decrypt(token, opened_for) == TEXT
    else:
        with pytest.raises(UndecryptableError):
            encryption.decrypt(token, opened_for)
        with pytest.raises(UndecryptableError):
            encryption.reencrypt(token, opened_for)


@pytest.mark.parametrize("resource", LISTS)
@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.django_db
def test_a_stored_secret_in_place_of_a_cursor_is_refused_and_not_shown(resource, purpose, caplog):
    caplog.set_level(logging.DEBUG)
    token = encryption.encrypt(TEXT, purpose)
    cursor = b64encode(urlencode({"p": token}).encode()).decode()

    answer = client_with(*EVERYTHING).get(f"/api/{resource}/", {"cursor": cursor})

    assert answer.status_code == 422
    assert TEXT not in answer.content.decode()
    assert TEXT not in caplog.text


@pytest.mark.django_db
def test_cursors_go_on_leading_through_a_list():
    for number in range(5):
        Order.objects.create(number=str(number))
    api, seen, url = client_with(*EVERYTHING), [], "/api/orders/?page_size=2"
    while url:
        page = api.get(url).data
        seen += [one["number"] for one in page["results"]]
        url = page["next"]

    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.django_db
def test_reencrypting_keeps_each_text_to_its_purpose(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["the first key of the store"]}
    subscription = make_subscription(headers={"X-Api-Key": TEXT})
    [secret] = SubscriptionSecret.objects.all()
    shared = secret.reveal()
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "ENCRYPTION_KEYS": ["the second key of the store", "the first key of the store"],
    }

    call_command("orderhooks_reencrypt", verbosity=0)

    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["the second key of the store"]}
    subscription.refresh_from_db()
    secret.refresh_from_db()
    assert secret.reveal() == shared
    assert subscription.own_headers() == {"X-Api-Key": TEXT}
