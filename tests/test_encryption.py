"""Secrets at rest: encrypted, readable through a change of keys, and a clear word when the key is gone."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from orderhooks import encryption
from orderhooks.encryption import Purpose, UndecryptableError
from orderhooks.models import SubscriptionSecret
from tests.factories import make_subscription

FIRST_KEY = "the first key of the store"
SECOND_KEY = "the second key of the store"
# The same each time: names of tests hold it.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def keys(settings) -> Callable[..., None]:
    """Put keys in force, newest first."""

    def put(*texts: str) -> None:
        settings.ORDERHOOKS = {"ENCRYPTION_KEYS": list(texts)}

    return put


@pytest.mark.parametrize("text", [SECRET, "", "Grüße 🍵", "x" * 10_000])
def test_what_is_encrypted_can_be_read_again_and_not_in_between(text):
    token = encryption.encrypt(text, Purpose.SIGNING_SECRET)

    assert encryption.decrypt(token, Purpose.SIGNING_SECRET) == text
    assert not text or text not in token


def test_the_same_text_never_looks_the_same():
    assert encryption.encrypt(SECRET, Purpose.SIGNING_SECRET) != encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)


def test_a_former_key_still_opens_and_the_newest_one_closes(keys):
    keys(FIRST_KEY)
    old = encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)
    keys(SECOND_KEY, FIRST_KEY)
    new = encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)

    assert encryption.decrypt(old, Purpose.SIGNING_SECRET) == SECRET
    keys(SECOND_KEY)
    assert encryption.decrypt(new, Purpose.SIGNING_SECRET) == SECRET
    with pytest.raises(UndecryptableError):
        encryption.decrypt(old, Purpose.SIGNING_SECRET)


def test_without_keys_of_its_own_the_secret_key_serves_and_its_fallbacks_open(settings):
    settings.SECRET_KEY = "the former secret key"
    old = encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new secret key", ["the former secret key"]

    assert encryption.decrypt(old, Purpose.SIGNING_SECRET) == SECRET
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(UndecryptableError):
        encryption.decrypt(old, Purpose.SIGNING_SECRET)


def test_the_secret_key_opens_nothing_once_there_are_keys(keys):
    token = encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)
    keys(FIRST_KEY)

    with pytest.raises(UndecryptableError):
        encryption.decrypt(token, Purpose.SIGNING_SECRET)


@pytest.mark.parametrize("token", ["", "not a token", "é", "gAAAAA==", SECRET])
def test_what_none_of_the_keys_opens_says_where_the_key_belongs(token):
    with pytest.raises(UndecryptableError) as refused:
        encryption.decrypt(token, Purpose.SIGNING_SECRET)

    assert "ENCRYPTION_KEYS" in str(refused.value)
    assert "SECRET_KEY" in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_token_that_was_tampered_with_is_refused():
    token = encryption.encrypt(SECRET, Purpose.SIGNING_SECRET)
    middle = len(token) // 2

    with pytest.raises(UndecryptableError):
        encryption.decrypt(
            token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :], Purpose.SIGNING_SECRET
        )


@pytest.mark.django_db
def test_the_table_holds_no_secret_in_the_clear():
    secret = make_subscription().add_secret()

    for stored in SubscriptionSecret.objects.values_list("encrypted", flat=True):
        assert secret not in stored
        assert secret.removeprefix("whsec_") not in stored


@pytest.mark.django_db
def test_a_subscriptions_secrets_survive_a_change_of_keys(keys):
    keys(FIRST_KEY)
    subscription = make_subscription()
    first = subscription.live_secrets(now=timezone.now())
    keys(SECOND_KEY, FIRST_KEY)
    second = subscription.add_secret()

    assert subscription.live_secrets(now=timezone.now()) == [second, *first]
    keys(SECOND_KEY)
    with pytest.raises(UndecryptableError):
        subscription.live_secrets(now=timezone.now())
