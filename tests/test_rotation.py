"""Rotation: a new secret beside the former ones, which end in time; and of the keys that secrets lie under."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from orderhooks import sending, tasks
from orderhooks.models import Subscription, SubscriptionSecret
from tests.factories import make_delivery, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now()
HOUR = timedelta(hours=1)


def first_secret(subscription: Subscription) -> str:
    return subscription.secrets.order_by("pk")[0].reveal()


def live(subscription: Subscription, *, at: timedelta = timedelta(0)) -> list[str]:
    return Subscription.objects.get(pk=subscription.pk).live_secrets(now=NOW + at)


def test_both_secrets_sign_for_a_day_and_then_the_new_one_alone() -> None:
    subscription = make_subscription()
    old = first_secret(subscription)
    new = subscription.rotate_secret(now=NOW)
    assert live(subscription) == live(subscription, at=24 * HOUR - timedelta(seconds=1)) == [new, old]
    assert live(subscription, at=24 * HOUR) == [new]
    for hours, count in ((1, 2), (24, 1)):
        request = sending.prepare(make_delivery(subscription=subscription), now=NOW + hours * HOUR)
        assert len(request.headers["webhook-signature"].split(" ")) == count


def test_without_an_overlap_the_former_secret_is_gone_at_once() -> None:
    subscription = make_subscription()
    new = subscription.rotate_secret(now=NOW, overlap=timedelta(0))
    assert [one.reveal() for one in subscription.secrets.all()] == [new]


def test_a_second_rotation_does_not_lengthen_the_life_of_the_first_secret() -> None:
    subscription = make_subscription()
    first = first_secret(subscription)
    second = subscription.rotate_secret(now=NOW, overlap=2 * HOUR)
    third = subscription.rotate_secret(now=NOW + HOUR, overlap=4 * HOUR)
    assert live(subscription, at=2 * HOUR - timedelta(seconds=1)) == [third, second, first]
    assert live(subscription, at=2 * HOUR) == [third, second]
    assert live(subscription, at=5 * HOUR) == [third]


def test_a_shorter_overlap_ends_those_that_had_longer() -> None:
    subscription = make_subscription()
    subscription.rotate_secret(now=NOW, overlap=24 * HOUR)
    newest = subscription.rotate_secret(now=NOW, overlap=HOUR)
    assert live(subscription, at=HOUR) == [newest]


def test_former_secrets_can_be_revoked_and_the_newest_stays() -> None:
    subscription, other = make_subscription(), make_subscription()
    other.rotate_secret(now=NOW)
    new = subscription.rotate_secret(now=NOW)
    assert subscription.revoke_former_secrets(now=NOW) == 1
    assert [one.reveal() for one in subscription.secrets.all()] == [new]
    assert subscription.revoke_former_secrets(now=NOW) == 0
    assert len(live(other)) == 2


def test_a_pump_prunes_secrets_that_have_ended() -> None:
    ended, lasting = make_subscription(), make_subscription()
    ended.rotate_secret(now=NOW - 25 * HOUR)
    lasting.rotate_secret(now=NOW)
    tasks.pump()
    assert (ended.secrets.count(), lasting.secrets.count()) == (1, 2)


def test_a_profile_of_another_kind_gets_a_secret_of_its_kind_beside_the_former() -> None:
    subscription = make_subscription()
    assert subscription.fit_secret(now=NOW) == ""
    subscription.signature = "ed25519"
    private = subscription.fit_secret(now=NOW)
    assert private.startswith("whsk_")
    assert [one.public_key[:5] for one in subscription.secrets.order_by("pk")] == ["", "whpk_"]
    assert len(live(subscription)) == 2
    subscription.signature = "github"
    shared = subscription.fit_secret(now=NOW)
    assert shared.startswith("whsec_"), "the shared one that is still in force will end, so it can't be relied on"
    assert live(subscription, at=24 * HOUR) == [shared]


# Keys


@pytest.fixture
def keys(settings) -> Callable[..., None]:
    """Put encryption keys in force, newest first."""

    def put(*texts: str) -> None:
        settings.ORDERHOOKS = {
            **settings.ORDERHOOKS,
            "ENCRYPTION_KEYS": [f"the {text} key of the store" for text in texts],
        }

    return put


def test_reencrypting_lets_the_former_key_go(keys, capsys) -> None:
    keys("former")
    subscription = make_subscription(headers={"X-Key": "tok_s3cr3t"})
    make_subscription()
    secret = first_secret(subscription)
    keys("new", "former")
    call_command("orderhooks_reencrypt")
    assert "2 signing secrets, and the headers and logins of 1 subscriptions" in capsys.readouterr().out
    keys("new")
    subscription = Subscription.objects.get(pk=subscription.pk)
    assert (live(subscription), subscription.own_headers()) == ([secret], {"X-Key": "tok_s3cr3t"})


def test_reencrypting_twice_writes_once(keys, capsys) -> None:
    keys("only")
    make_subscription(headers={"X-Key": "tok_s3cr3t"})
    before = list(SubscriptionSecret.objects.values_list("encrypted", flat=True))
    call_command("orderhooks_reencrypt")
    assert "0 signing secrets, and the headers and logins of 0 subscriptions" in capsys.readouterr().out
    assert list(SubscriptionSecret.objects.values_list("encrypted", flat=True)) == before


def test_what_no_key_opens_is_named_left_alone_and_holds_up_nothing(keys) -> None:
    keys("lost")
    lost = make_subscription(headers={"X-Key": "tok_s3cr3t"})
    keys("former")
    found = make_subscription()
    secret = first_secret(found)
    stored = lost.secrets.get().encrypted
    keys("new", "former")
    with pytest.raises(CommandError, match=lost.public_id) as failed:
        call_command("orderhooks_reencrypt")
    assert found.public_id not in str(failed.value)
    assert lost.secrets.get().encrypted == stored
    keys("new")
    assert live(found) == [secret]
