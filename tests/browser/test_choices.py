"""What a subscription chooses: typed in, tried on real events, corrected, saved."""

import pytest
from playwright.sync_api import expect

from orderhooks.models import Subscription
from tests.browser.visiting import Visit
from tests.factories import make_event, make_subscription

EUROS = "data.order.currency == 'EUR' && to_number(data.order.total) > `100`"


@pytest.fixture
def events() -> None:
    for number, (currency, total) in enumerate([("EUR", "250.00"), ("EUR", "20.00"), ("USD", "300.00")]):
        order = {"number": f"100{number}", "currency": currency, "total": total}
        make_event(order_number=f"100{number}", payload={"order": order, "changes": {}})


def test_a_filter_is_tried_on_real_events_before_it_is_saved(operator: Visit, events: None) -> None:
    subscription = make_subscription(name="CRM", topics=["order.*"], url="https://crm.example.org/")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.page.get_by_label("Filter:").fill(EUROS)
    operator.page.get_by_label("Projection:").fill("{nr: data.order.number, total: data.order.total}")
    with operator.page.expect_popup() as opened:
        operator.press("Try on recent events")
    trial = Visit(opened.value, operator.user)
    trial.reads("Of 3 events: 1 would have been sent, 2 left out, 0 held.")
    expect(trial.page.get_by_role("row", name="1001")).to_contain_text("to_number(data.order.total) is 20")
    expect(trial.page.get_by_role("row", name="1002")).to_contain_text('data.order.currency is "USD"')
    row = trial.page.get_by_role("row", name="1000")
    row.get_by_text("bytes").click()
    expect(row).to_contain_text('"nr": "1000"')
    trial.page.get_by_label("Filter:").fill("data.order.currncy == 'EUR'")
    trial.press("Try")
    trial.reads("there is no field 'currncy'. Did you mean 'currency'?")
    subscription.refresh_from_db()
    assert subscription.filter == ""
    # What was typed is still there, and can be saved.
    operator.press("Save and continue editing")
    operator.reads("was changed successfully")
    subscription.refresh_from_db()
    assert subscription.filter == EUROS


def test_a_wrong_filter_is_refused_at_its_field(operator: Visit) -> None:
    subscription = make_subscription(name="CRM", url="https://crm.example.org/")
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.page.get_by_label("Filter:").fill("data.order.total > 100")
    operator.page.get_by_label("Changed fields:").fill("lines.* statuss")
    operator.press("Save")
    expect(operator.page.locator(".field-filter")).to_contain_text("write a number in backticks: `100`")
    expect(operator.page.locator(".field-changed_fields")).to_contain_text("Did you mean 'status'?")
    assert not Subscription.objects.exclude(filter="").exists()


def test_choices_of_a_new_subscription_are_tried(operator: Visit, events: None) -> None:
    operator.go("subscription/add/")
    operator.page.get_by_label("order.paid: ").check()
    with operator.page.expect_popup() as opened:
        operator.press("Try on recent events")
    Visit(opened.value, operator.user).reads("Of 3 events: 3 would have been sent, 0 left out, 0 held.")
