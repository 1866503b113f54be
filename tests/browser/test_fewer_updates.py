"""What an operator sees of updates that wait for an interval, and of those that were merged."""

from django.utils import timezone
from playwright.sync_api import expect

from orderhooks import routing
from orderhooks.models import Event, Subscription
from tests.browser.visiting import Visit
from tests.factories import make_event, make_order, make_subscription


def test_an_interval_is_set_and_updates_say_what_they_wait_for_and_merge_into(operator: Visit) -> None:
    subscription = make_subscription(name="CRM", topics=["order.updated"])
    operator.go(f"subscription/{subscription.pk}/change/")
    interval = operator.page.get_by_label("Seconds between updates:")
    interval.fill("90000")
    operator.press("Save and continue editing")
    expect(operator.page.locator(".field-update_interval_seconds .errorlist")).to_contain_text("86400")
    interval.fill("3600")
    operator.press("Save and continue editing")
    assert Subscription.objects.get().update_interval_seconds == 3600
    order = make_order(lines=[])
    Event.objects.all().delete()
    made = []
    for number in range(3):
        changes = {"note": [str(number), str(number + 1)]}
        payload = {"order": {"number": order.number}, "changes": changes}
        fields = {"order_pk": str(order.pk), "order_number": order.number, "changes": changes, "payload": payload}
        made.append(make_event(topic="order.updated", routed_at=None, **fields))
        routing.route(now=timezone.now())
        made[0].deliveries.update(attempts_made=1)
    merged, carrier = (event.deliveries.get() for event in made[1:])
    operator.go(f"delivery/{merged.pk}/change/")
    expect(operator.page.locator(".orderhooks-summary")).to_contain_text(f"into {made[2].public_id}, a later update")
    operator.follow("See the delivery that it was merged into")
    summary = operator.page.locator(".orderhooks-summary")
    expect(summary).to_contain_text("CRM gets at most one order.updated of an order in 1 h 0 min.")
    assert operator.page.url.endswith(f"/delivery/{carrier.pk}/change/")
    operator.go(f"order/{order.pk}/change/")
    expect(operator.page.locator("body")).to_contain_text(f"merged into {made[2].public_id}")
