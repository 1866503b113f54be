"""An objective in a browser: it is set on the page of a subscription, and read there, in the list and the dashboard."""

from django.utils import timezone
from playwright.sync_api import expect

from orderhooks.models import ObjectiveStats, Subscription
from orderhooks.models.objective_stats import FINE, HOURLY, begins_at
from tests.browser.visiting import Visit
from tests.factories import make_subscription


def test_an_objective_is_set_and_its_budget_is_read(operator: Visit) -> None:
    subscription = make_subscription(name="Warehouse")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.page.get_by_label("Objective in seconds:").fill("60")
    share = operator.page.get_by_label("Objective in percent:")
    share.fill("101")
    operator.press("Save and continue editing")
    expect(operator.page.locator(".field-objective_share .errorlist")).to_contain_text("100")
    share.fill("99")
    operator.press("Save and continue editing")
    operator.reads("None was due in the last 30 days.")
    assert Subscription.objects.get().objective_seconds == 60
    now = timezone.now()
    for minutes in (FINE, HOURLY):
        ObjectiveStats.objects.create(
            subscription=subscription, minutes=minutes, begins_at=begins_at(now, minutes), met=94, missed=6
        )
    operator.page.reload()
    operator.reads("In the last hour 94 % did: it uses its error budget 6 times too fast.")
    operator.go("subscription/")
    operator.reads("missed: 94 %")
    operator.go("dashboard/")
    operator.reads("It misses its objective: 94 % of the deliveries of 30 days arrived within 1 min, not 99 %.")
