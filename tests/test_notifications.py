"""P6: people get an e-mail when an endpoint fails, is disabled or recovers; once each, never for each delivery."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.utils import timezone

from orderhooks import notifications, tasks
from orderhooks.models import Subscription
from orderhooks.notifications.alarms import quoted
from orderhooks.tasks import django_q
from tests.factories import make_delivery, make_subscription
from tests.mail import no_mail_server

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def admins(settings) -> None:
    settings.ADMINS = [("Ops", "ops@example.com")]
    cache.clear()  # of mails counted by other tests


class BrokenCache(LocMemCache):
    def add(self, *_arguments: object, **_options: object) -> bool:
        raise ConnectionError("the cache is away")


def failing(**fields) -> Subscription:
    return make_subscription(
        **{"name": "Warehouse", "failing_since": NOW - 2 * HOUR, "consecutive_failures": 3, **fields}
    )


def test_the_contact_and_the_admins_get_mail_about_an_endpoint_that_fails_for_an_hour() -> None:
    subscription = failing(contact_email="team@warehouse.example")
    make_delivery(subscription=subscription, last_error="status", last_detail="The endpoint responded with 503.")
    assert notifications.send_due(now=NOW) == 1
    contact, admins = mail.outbox
    assert (contact.to, admins.to) == (["team@warehouse.example"], ["ops@example.com"])
    for message in mail.outbox:
        assert "Webhooks to “Warehouse” are failing" in message.subject
        assert subscription.public_id in message.body
        assert "Deliveries that wait: 1" in message.body
    for said in (subscription.url, "The endpoint responded with 503."):
        assert said in admins.body
        assert said not in contact.body, "a contact may be a stranger to whoever wrote it"


def test_a_name_in_an_email_is_one_quoted_line_without_links(settings) -> None:
    settings.ADMINS = []
    name = "Pay now\nat https://evil.example/ " + "x" * 100
    failing(contact_email="stranger@example.org", name=name, url="https://evil.example/hook?pay=now")
    notifications.send_due(now=NOW)
    [message] = mail.outbox
    assert "Webhooks to “Pay now at https evil. example/ xxx" in message.subject
    assert "…”" in message.subject
    assert "://" not in f"{message.subject}{message.body}"
    assert "pay=now" not in message.body


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("paypal-check.com/login", "paypal-check. com/login"),
        ("EVIL.EXAMPLE:80/x", "EVIL. EXAMPLE: 80/x"),
        ("bad\u3002example\uff0eor\uff61not.xn--p1ai", "bad\u3002 example\uff0e or\uff61 not. xn--p1ai"),
        ("mailto:a@evil.com", "mailto: a@ evil. com"),
        ("tel:+4930", "tel: +4930"),
        ("http:/evil.example", "http: /evil. example"),
        ("v2.0, 12.50 EUR at 12:30", "v2.0, 12.50 EUR at 12:30"),
        ("Warehouse: north & St. Pauli", "Warehouse: north & St. Pauli"),
    ],
)
def test_a_name_in_an_email_has_no_domain_or_address_and_stays_readable(name: str, shown: str) -> None:
    assert quoted(name) == f"“{shown}”"


@pytest.mark.parametrize("cache_fails", [False, True])
def test_a_contact_of_many_subscriptions_gets_few_emails_a_day(settings, caplog, cache_fails: bool) -> None:
    if cache_fails:
        settings.CACHES = {"default": {"BACKEND": "tests.test_notifications.BrokenCache"}}
    for _ in range(notifications.CONTACT_MAILS_A_DAY + 5):
        failing(contact_email="stranger@example.org")
    notifications.send_due(now=NOW)
    assert [message.to for message in mail.outbox].count(["stranger@example.org"]) == notifications.CONTACT_MAILS_A_DAY
    assert [message.to for message in mail.outbox].count(["ops@example.com"]) == 1, "the digest"
    assert "reached the limit of the day" in caplog.text


@pytest.mark.parametrize("evade", ["delete", "name another contact"])
def test_a_contact_is_not_written_to_more_by_hiding_what_was_written(evade: str) -> None:
    for _ in range(notifications.CONTACT_MAILS_A_DAY + 5):
        subscription = failing(contact_email="Stranger@example.org")
        notifications.send_due(now=NOW)
        if evade == "delete":
            subscription.delete()
        else:
            Subscription.objects.filter(pk=subscription.pk).update(contact_email="")
    assert [message.to for message in mail.outbox].count(["Stranger@example.org"]) == notifications.CONTACT_MAILS_A_DAY


def test_one_that_failed_for_a_short_time_makes_no_mail() -> None:
    failing(failing_since=NOW - HOUR / 2)
    make_subscription()
    assert notifications.send_due(now=NOW) == 0


def test_each_state_is_notified_once_and_in_its_turn() -> None:
    subscription = failing()
    now = NOW
    for change, subject in (
        ({}, "are failing"),
        ({"state": "disabled", "state_reason": "Every attempt has failed for 5 days."}, "were stopped"),
        ({"state": "active", "failing_since": None, "last_success_at": NOW}, "are delivered again"),
    ):
        now += HOUR
        Subscription.objects.filter(pk=subscription.pk).update(**change)
        for _ in range(3):
            notifications.send_due(now=now)
            now += notifications.PAUSE
        assert subject in mail.outbox[-1].subject
    assert len(mail.outbox) == 3
    assert "Every attempt has failed for 5 days." in mail.outbox[1].body


def test_an_endpoint_that_nobody_called_for_an_hour_is_not_said_to_fail() -> None:
    """It failed for a few seconds, and no worker ran since."""
    subscription = failing(last_failure_at=NOW - 2 * HOUR + timedelta(seconds=20))
    assert notifications.send_due(now=NOW) == 0
    subscription.last_failure_at = NOW
    subscription.save(update_fields=["last_failure_at"])
    assert notifications.send_due(now=NOW) == 1


def test_what_is_being_sent_waits_too() -> None:
    subscription = failing()
    for state in ("pending", "sending", "delivered"):
        make_delivery(subscription=subscription, state=state)
    notifications.send_due(now=NOW)
    assert "Deliveries that wait: 2" in mail.outbox[0].body


def test_an_endpoint_that_comes_and_goes_fills_no_inbox() -> None:
    subscription = failing()
    notifications.send_due(now=NOW)
    for minutes in range(1, 5):
        Subscription.objects.filter(pk=subscription.pk).update(
            failing_since=None if minutes % 2 else NOW - 2 * HOUR, last_success_at=NOW
        )
        notifications.send_due(now=NOW + timedelta(minutes=minutes))
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("unwanted", ["mail_failing", "mail_disabled", "mail_recovered", None])
def test_a_contact_gets_the_mails_that_it_wants_and_the_admins_get_all(unwanted: str | None) -> None:
    wishes = {unwanted: False} if unwanted else {}
    subscription = failing(contact_email="team@warehouse.example", **wishes)
    now = NOW
    for change in (
        {},
        {"state": "disabled", "state_reason": "Every attempt has failed for 5 days."},
        {"state": "active", "failing_since": None, "last_success_at": NOW},
    ):
        Subscription.objects.filter(pk=subscription.pk).update(**change)
        notifications.send_due(now=now)
        now += HOUR
    kinds = {"mail_failing": "are failing", "mail_disabled": "were stopped", "mail_recovered": "are delivered again"}
    to_contact = [message.subject for message in mail.outbox if message.to == ["team@warehouse.example"]]
    to_admins = [message.subject for message in mail.outbox if message.to == ["ops@example.com"]]
    assert len(to_admins) == 3
    assert [any(said in subject for subject in to_contact) for said in kinds.values()] == [
        unwanted != kind for kind in kinds
    ]


def test_a_notice_that_nobody_wants_is_not_due_again(settings) -> None:
    settings.ADMINS = []
    subscription = failing(contact_email="team@warehouse.example", mail_failing=False)
    assert notifications.send_due(now=NOW) == 0
    assert not notifications.due(now=NOW + HOUR).exists()
    subscription.refresh_from_db()
    assert subscription.last_notified_state == "failing"


def test_resuming_alone_is_no_recovery() -> None:
    subscription = make_subscription(state="disabled", last_notified_state="disabled")
    Subscription.objects.filter(pk=subscription.pk).resume()
    assert notifications.send_due(now=NOW) == 0
    assert mail.outbox == []


def test_an_email_that_can_not_be_sent_is_logged_and_due_again(caplog) -> None:
    with no_mail_server():
        failing()
        assert notifications.send_due(now=NOW) == 0
    assert "could not send an e-mail" in caplog.text
    assert not notifications.due(now=NOW + notifications.PAUSE / 2).exists()
    assert notifications.send_due(now=NOW + notifications.PAUSE) == 1


def test_a_name_can_not_add_headers() -> None:
    failing(name="Ware\r\nBcc: everybody@example.com\r\nhouse")
    assert notifications.send_due(now=NOW) == 1
    assert "\n" not in mail.outbox[0].subject
    assert mail.outbox[0].recipients() == ["ops@example.com"]


def test_without_recipients_nothing_is_sent_and_nothing_stays_due(settings) -> None:
    settings.ADMINS = []
    failing()
    assert notifications.send_due(now=NOW) == 0
    assert not notifications.due(now=NOW + HOUR).exists()


def test_the_admins_of_django_6_are_addresses(settings) -> None:
    settings.ADMINS = ["ops@example.com"]
    failing()
    notifications.send_due(now=NOW)
    assert mail.outbox[0].to == ["ops@example.com"]


def test_a_pump_has_the_emails_sent_by_a_task_of_its_own(monkeypatch) -> None:
    queued = []
    monkeypatch.setattr(django_q, "async_task", lambda path, **_options: queued.append(path))
    failing(failing_since=timezone.now() - 2 * HOUR)
    tasks.pump()
    assert tasks.NOTIFY in queued
    tasks.notify()
    assert len(mail.outbox) == 1
