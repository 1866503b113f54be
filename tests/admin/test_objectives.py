"""Objectives in the admin: the page of a subscription, the list and the dashboard."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.models import ObjectiveStats, Subscription
from orderhooks.models.objective_stats import FINE, HOURLY, begins_at
from tests.admin.visits import page, staff
from tests.factories import make_delivery, make_subscription

pytestmark = pytest.mark.django_db


def with_objective(met: int, missed: int, **fields: Any) -> Subscription:
    subscription = make_subscription(objective_seconds=60, **fields)
    now = timezone.now()
    for minutes in (FINE, HOURLY):
        ObjectiveStats.objects.create(
            subscription=subscription, minutes=minutes, begins_at=begins_at(now, minutes), met=met, missed=missed
        )
    return subscription


def test_the_page_says_how_it_does(operator) -> None:
    subscription = with_objective(94, 6)
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert "99 % should arrive within 1 min. In the last 30 days 94 % did (94 of 100)." in text
    assert "it uses its error budget 6 times too fast" in text
    assert "should arrive within 1 min" not in page(operator, f"subscription/{make_subscription().pk}/change/")
    assert "objective_report" not in page(operator, "subscription/add/")


@pytest.mark.parametrize(
    ("met", "missed", "words"),
    [
        (94, 6, 'orderhooks-bad">missed: 94 %'),
        (999, 1, ">99.9 %<"),
        (0, 0, ">none was due<"),
    ],
)
def test_the_list_shows_who_misses_it(operator, met: int, missed: int, words: str) -> None:
    with_objective(met, missed)
    assert words in page(operator, "subscription/")


def test_the_lists_queries_do_not_grow(operator) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(operator, "subscription/")
        return len(captured)

    def make() -> None:
        make_delivery(subscription=with_objective(1, 1), due_by=timezone.now() - timedelta(minutes=1))

    make()
    few = count()
    for _ in range(4):
        make()
    assert count() == few


def test_the_dashboard_names_those_of_the_users_stores(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.admin.test_objectives.only_north"}
    with_objective(94, 6, name="Northern", store="north")
    with_objective(94, 6, name="Southern", store="south")
    with_objective(999, 1, name="Well", store="north")
    text = page(staff("view_delivery", "view_subscription"), "dashboard/")
    assert "It misses its objective: 94 % of the deliveries of 30 days arrived within 1 min, not 99 %." in text
    assert [name for name in ("Northern", "Southern", "Well") if f"{name} (sub_" in text] == ["Northern"]


def only_north(_user: object) -> list[str]:
    return ["north"]


def test_the_page_does_not_say_that_all_is_well_while_it_is_missed(operator) -> None:
    now = timezone.now()
    missed, met = with_objective(94, 6, last_success_at=now), with_objective(999, 1, last_success_at=now)
    text = page(operator, f"subscription/{missed.pk}/change/")
    assert "Active: its deliveries arrive." not in text
    assert "orderhooks-banner-warning" in text
    assert "Active, but deliveries arrive too late.</strong><p>It misses its objective: 94 %" in text
    assert "Active: its deliveries arrive." in page(operator, f"subscription/{met.pk}/change/")
