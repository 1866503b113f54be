"""Subscriptions that are made in Python: what admin and API refuse is refused, and each has a secret to sign with."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from orderhooks import signing
from orderhooks.models import Subscription, SubscriptionSecret
from orderhooks.models.signing_secrets import MOST_SECRETS

pytestmark = pytest.mark.django_db

GOOD: dict[str, Any] = {"name": "CRM", "url": "https://crm.example.com/webhooks", "topics": ["order.paid"]}
BAD = [
    ({"topics": ["order.payed"]}, "topics", "Did you mean 'order.paid'?"),
    ({"topics": ["oder.*"]}, "topics", "Did you mean 'order.*'?"),
    ({"topics": "order.paid"}, "topics", "as a list"),
    ({"topics": []}, "topics", "at least one topic"),
    ({"url": "http://169.254.169.254/"}, "url", "Use a public address"),
    ({"url": "https://user:secret@crm.example.com/"}, "url", '"Authorization": "Basic …"'),
    ({"url": "https://crm.example.com/new orders"}, "url", "%20"),
    ({"url": " https://crm.example.com/"}, "url", "spaces"),
    ({"url": "crm.example.com"}, "url", "not an http or https URL"),
    ({"url": ""}, "url", "blank"),
    ({"name": ""}, "name", "blank"),
    ({"name": "x" * 201}, "name", "200"),
    ({"signature": "svix"}, "signature", "not a valid choice"),
    ({"max_in_flight": 0}, "max_in_flight", "greater than or equal to 1"),
    ({"timeout_seconds": 31}, "timeout_seconds", "less than or equal to 30"),
    ({"contact_email": "nobody"}, "contact_email", "valid email"),
]


def made(fields: dict[str, Any]) -> Subscription:
    return Subscription.objects.create(**fields)


def saved(fields: dict[str, Any]) -> Subscription:
    subscription = Subscription(**fields)
    subscription.save()
    return subscription


def made_with_secret(fields: dict[str, Any]) -> Subscription:
    subscription, secret = Subscription.create_with_secret(**fields)
    assert secret == subscription.new_secret
    return subscription


def made_in_bulk(fields: dict[str, Any]) -> Subscription:
    [subscription] = Subscription.objects.bulk_create([Subscription(**fields)])
    return subscription


def found_or_made(fields: dict[str, Any]) -> Subscription:
    return Subscription.objects.get_or_create(name=fields["name"], defaults=fields)[0]


WAYS = [made, saved, made_with_secret, made_in_bulk, found_or_made]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("signature", ["standard", "ed25519", "github"])
def test_each_new_one_has_a_secret_that_can_be_read_this_once(way: Any, signature: str) -> None:
    subscription = way({**GOOD, "signature": signature})
    assert subscription.live_secrets(now=timezone.now()) == [subscription.new_secret]
    assert signing.secret_prefix(signature) == signing.SHARED_PREFIX or signing.public_key(subscription.new_secret)
    assert Subscription.objects.get(pk=subscription.pk).new_secret == ""
    subscription.name = "Renamed"
    subscription.save()
    assert SubscriptionSecret.objects.count() == 1, "saving it again makes no other"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("fields", "field", "words"), BAD, ids=lambda one: str(one)[:40])
def test_what_admin_and_api_refuse_is_refused(way: Any, fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        way({**GOOD, **fields})
    assert words in " ".join(raised.value.message_dict[field])
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("fields", "field", "words"), BAD, ids=lambda one: str(one)[:40])
def test_a_change_is_refused_too(named: bool, fields: dict[str, Any], field: str, words: str) -> None:
    subscription = made(GOOD)
    for name, value in fields.items():
        setattr(subscription, name, value)
    with pytest.raises(ValidationError) as raised:
        subscription.save(**({"update_fields": list(fields)} if named else {}))
    assert words in " ".join(raised.value.message_dict[field])


def test_what_was_allowed_once_bars_no_other_change(settings, django_assert_num_queries) -> None:
    subscription = made({**GOOD, "url": "http://127.0.0.1:8000/webhooks"})
    settings.ORDERHOOKS = {"REQUIRE_HTTPS": True}
    subscription.name = "Renamed"
    subscription.save()
    # As workers do it: nothing of it is looked at, and no query comes on top.
    subscription.record_failure(now=timezone.now())
    with django_assert_num_queries(1):
        subscription.save(update_fields=Subscription.HEALTH)
    subscription.url = "http://127.0.0.1:8000/others"
    with pytest.raises(ValidationError, match="https"):
        subscription.save()


def test_one_that_was_not_saved_has_no_secret_either(monkeypatch) -> None:
    monkeypatch.setattr(signing, "generate_secret", lambda _signature: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(GOOD)
    assert not Subscription.objects.exists(), "both or none"


def test_a_hundred_rotations_leave_ten_secrets_and_the_newest_always_signs() -> None:
    subscription, now = made(GOOD), timezone.now()
    secrets = [subscription.rotate_secret(now=now, overlap=timedelta(days=7)) for _number in range(100)]
    live = Subscription.objects.get(pk=subscription.pk).live_secrets(now=now)
    assert live == secrets[: -MOST_SECRETS - 1 : -1]
    assert SubscriptionSecret.objects.count() == MOST_SECRETS


def test_more_secrets_than_may_sign_do_not_sign_however_they_came() -> None:
    subscription = made(GOOD)
    added = [subscription.add_secret() for _number in range(20)]
    assert subscription.live_secrets(now=timezone.now()) == added[: -MOST_SECRETS - 1 : -1]


def test_a_secret_that_the_receiver_has_already_is_the_one_that_signs() -> None:
    own = signing.generate_secret()
    subscription, secret = Subscription.create_with_secret(**GOOD, secret=own)
    assert secret == own == subscription.secrets.get().reveal()
    assert not subscription.given_secret, "a copy of the instance gets a secret of its own"


@pytest.mark.parametrize("secret", ["hunter2", "whsec_c2hvcnQ=", "whsk_" + "A" * 86 + "=="])
def test_a_secret_that_can_not_sign_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Subscription.create_with_secret(**GOOD, secret=secret)
    assert list(caught.value.message_dict) == ["secret"]
    assert secret not in str(caught.value)
    assert not Subscription.objects.exists()
