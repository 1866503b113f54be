"""Deliveries that could not be made by the subscription's own choices: shown wherever people look for problems."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from orderhooks import operations, reporting, sending
from orderhooks.models import Pump, Subscription
from orderhooks.reporting.system_status import system_status
from tests.factories import make_delivery, make_event, make_subscription, make_user, make_worker
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db

WHY = "The projection fails on this event. It yields null."


@pytest.fixture
def failing() -> Subscription:
    """Its only delivery was attempted, and its projection failed."""
    subscription = make_subscription(name="Books", projection="data.order.gift", url="https://books.example.org/")
    make_delivery(subscription=subscription, event=make_event())
    attempt()
    subscription.refresh_from_db()
    return subscription


def attempt(days: int = 0) -> None:
    now = timezone.now() + timedelta(days=days)
    with sending.Sender(threads=1, clock=lambda: now) as sender:
        sender.claim(now=now)


def test_it_is_a_problem_of_the_status_and_the_doctor(failing: Subscription) -> None:
    Pump.start(now=timezone.now())
    worker = make_worker(True, timezone.now(), timezone.now() + timedelta(seconds=30))
    [problem] = system_status(worker, now=timezone.now()).problems()
    assert problem.startswith(f"Books ({failing.public_id}): A delivery could not be made")
    assert WHY in problem
    printed = StringIO()
    with pytest.raises(CommandError):
        call_command("orderhooks_status", "--fail", stdout=printed)
    assert WHY in printed.getvalue()


def test_the_dashboard_the_list_and_the_page_say_so(failing: Subscription) -> None:
    browser = Client()
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    for address in ("dashboard/", f"subscription/{failing.pk}/change/"):
        assert WHY in browser.get(f"/admin/orderhooks/{address}").content.decode()
    assert "some deliveries can’t be made" in browser.get("/admin/orderhooks/subscription/").content.decode()


def test_it_says_nothing_about_the_endpoint(failing: Subscription) -> None:
    assert (failing.consecutive_failures, failing.failing_since, failing.last_failure) == (0, None, "")


def test_a_repair_ends_it(failing: Subscription, receiver: RecordingReceiver) -> None:
    operations.reconfigure(failing, {"name": "Bookkeeping"})
    failing.refresh_from_db()
    assert reporting.unsent_problems(now=timezone.now())
    operations.reconfigure(failing, {"projection": "{n: data.order.number}"})
    assert reporting.unsent_problems(now=timezone.now()) == []


def test_a_repair_in_python_ends_it_and_another_change_does_not(failing: Subscription) -> None:
    for fields in ({}, {"update_fields": ["name", "projection"]}):
        failing.name = "Bookkeeping"
        failing.save(**fields)
        assert reporting.unsent_problems(now=timezone.now())
    failing.projection = "{n: data.order.number}"
    failing.save()
    assert reporting.unsent_problems(now=timezone.now()) == []


def test_it_is_forgotten_when_it_has_not_happened_for_long(failing: Subscription) -> None:
    assert reporting.unsent_problems(now=timezone.now() + timedelta(days=3)) == []
    attempt(days=3)
    assert reporting.unsent_problems(now=timezone.now() + timedelta(days=3))


def test_users_of_other_stores_do_not_see_it(failing: Subscription) -> None:
    Subscription.objects.update(store="berlin")
    assert reporting.unsent_problems(now=timezone.now(), stores=["paris"]) == []
    assert reporting.unsent_problems(now=timezone.now(), stores=["berlin"])
