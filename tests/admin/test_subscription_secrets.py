"""Signing secrets in the admin: rotated with an overlap, revoked, revealed to few; kept in no history or session."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.contrib.sessions.models import Session
from django.utils import timezone

from tests.admin.test_actions import confirmed, history, press
from tests.admin.visits import client_of, page, run, staff
from tests.factories import make_subscription, make_user

pytestmark = pytest.mark.django_db

SECRET = re.compile(r"wh(?:sec|sk)_[A-Za-z0-9+/=]{20,}")
HOURS = 3600


def live(subscription) -> list[str]:
    return subscription.live_secrets(now=timezone.now())


@pytest.mark.parametrize("hours", [0, 1, 24, 168])
def test_a_new_secret_is_made_after_a_choice_of_the_overlap(operator, hours):
    subscription = make_subscription()
    confirmation = press(operator, subscription, "rotate")
    assert not SECRET.search(confirmation)
    assert subscription.secrets.count() == 1
    former, before = live(subscription)[0], timezone.now()
    [shown] = SECRET.findall(press(operator, subscription, "rotate", **confirmed(confirmation), hours=hours))
    assert live(subscription) == ([shown, former] if hours else [shown])
    if hours:
        expires_at = subscription.secrets.earliest("pk").expires_at
        assert expires_at is not None
        seconds = (expires_at - before).total_seconds()
        assert hours * HOURS <= seconds < hours * HOURS + 60
    assert "new signing secret" in history(subscription)[0]


@pytest.mark.parametrize("hours", ["", "-1", "169", "soon", "2"])
def test_no_other_overlap_is_taken(operator, hours):
    subscription = make_subscription()
    assert "errorlist" in press(operator, subscription, "rotate", confirmed="1", hours=hours)
    assert subscription.secrets.count() == 1


def test_the_former_secret_is_counted_down_and_can_be_revoked(operator):
    subscription = make_subscription()
    assert "/revoke/" not in page(operator, f"subscription/{subscription.pk}/change/")
    press(operator, subscription, "rotate", confirmed="1", hours="6")
    text = page(operator, f"subscription/{subscription.pk}/change/").replace("\xa0", " ")
    assert re.search(r"signs until .*, for (6 h 0 min|5 h 59 min) more", text)
    confirmation = press(operator, subscription, "revoke")
    assert subscription.secrets.count() == 2
    assert "1 former secret is revoked" in press(operator, subscription, "revoke", **confirmed(confirmation))
    assert len(live(subscription)) == 1
    assert history(subscription)[-1] == "Revoked former signing secrets."
    assert "It has no former secret any more" in press(operator, subscription, "revoke", **confirmed(confirmation))
    assert len(live(subscription)) == 1


def test_several_are_rotated_and_revoked_by_actions(operator):
    one, two = make_subscription(), make_subscription()
    confirmation = run(operator, "subscription", "rotate_secret", one, two)
    data = {**confirmed(confirmation), "hours": "24"}
    shown = SECRET.findall(operator.post("/admin/orderhooks/subscription/", data).content.decode())
    assert shown == [live(one)[0], live(two)[0]]
    confirmation = run(operator, "subscription", "revoke_former_secrets", one, two)
    response = operator.post("/admin/orderhooks/subscription/", confirmed(confirmation), follow=True)
    assert "2 former secrets are revoked" in response.content.decode()
    assert (len(live(one)), len(live(two))) == (1, 1)


def test_secrets_are_revealed_to_those_who_may_and_it_is_kept_who_did(caplog):
    user = make_user("view_subscription", "reveal_secret", is_staff=True)
    client, subscription = client_of(user), make_subscription()
    subscription.rotate_secret(now=timezone.now())
    assert "/reveal/" in page(client, f"subscription/{subscription.pk}/change/")
    response = client.post(f"/admin/orderhooks/subscription/{subscription.pk}/reveal/")
    assert SECRET.findall(response.content.decode()) == live(subscription)
    assert "no-store" in response["cache-control"]
    [entry] = LogEntry.objects.all()
    assert (entry.user, entry.get_change_message()) == (user, "Revealed the signing secrets.")
    [record] = [record for record in caplog.records if record.name == "orderhooks"]
    assert subscription.public_id in record.getMessage()
    assert user.username in record.getMessage()
    assert not SECRET.search(caplog.text)


def test_who_manages_subscriptions_need_not_see_their_secrets():
    client = staff("view_subscription", "add_subscription", "change_subscription", "delete_subscription")
    subscription = make_subscription()
    assert "/reveal/" not in page(client, f"subscription/{subscription.pk}/change/")
    response = client.post(f"/admin/orderhooks/subscription/{subscription.pk}/reveal/")
    assert response.status_code == 403
    assert not SECRET.search(response.content.decode())


def test_a_key_pair_has_nothing_to_reveal(operator):
    subscription = make_subscription(signature="ed25519")
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert "/reveal/" not in text
    assert "whpk_" in text
    text = press(operator, subscription, "reveal")
    assert "It has no secret to reveal: its public keys are on this page." in text
    assert not SECRET.search(text)


def test_a_secret_that_no_key_decrypts_is_reported_and_not_logged_as_revealed(operator, settings, caplog):
    subscription = make_subscription()
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["another key of some length"]}
    assert "ENCRYPTION_KEYS" in press(operator, subscription, "reveal")
    assert history(subscription) == []
    assert "revealed" not in caplog.text


def test_no_secret_stays_behind(operator):
    subscription = make_subscription()
    for button, data in (("rotate", {"hours": "24"}), ("reveal", {}), ("revoke", {}), ("test", {})):
        path = f"/admin/orderhooks/subscription/{subscription.pk}/{button}/"
        response = operator.post(path, {"confirmed": "1", **data})
        assert not any(SECRET.search(str(message)) for message in get_messages(response.wsgi_request))
    assert len(history(subscription)) == 4
    kept = [str(session.get_decoded()) for session in Session.objects.all()]
    kept += [f"{entry.change_message} {entry.object_repr}" for entry in LogEntry.objects.all()]
    kept += [cookie.value for cookie in operator.cookies.values()]
    kept += [page(operator, f"subscription/{subscription.pk}/{name}/") for name in ("change", "history")]
    assert [text for text in kept if SECRET.search(text)] == []
