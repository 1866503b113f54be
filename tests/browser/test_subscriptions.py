"""What an operator does about an endpoint, by clicking: add it, test, pause, resume, rotate its secret, its mail."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from orderhooks.models import Subscription
from tests.browser.visiting import Visit
from tests.factories import make_delivery, make_delivery_at, make_event, make_subscription, make_user
from tests.receivers import Answer, RecordingReceiver


def test_a_url_that_is_not_allowed_is_refused_with_the_reason_and_the_remedy(operator: Visit, receiver) -> None:
    operator.go("subscription/add/")
    operator.page.get_by_label("Name:", exact=True).fill("Warehouse")
    operator.page.get_by_label("order.*:").check()
    operator.page.get_by_label("URL:", exact=True).fill("http://169.254.169.254/latest/meta-data/")
    operator.press("Save")
    expect(operator.page.locator(".field-url .errorlist")).to_contain_text("169.254.169.254")
    operator.page.get_by_label("URL:", exact=True).fill("http://10.1.2.3/webhooks")
    operator.press("Save")
    expect(operator.page.locator(".field-url .errorlist")).to_contain_text("ALLOWED_NETWORKS")
    operator.page.get_by_label("URL:", exact=True).fill(receiver.url)
    operator.press("Save")
    shown = operator.page.get_by_label("Signing secret:").input_value()
    assert shown == _secret_of(Subscription.objects.get())
    operator.follow("I have copied it")
    expect(operator.page.locator("#result_list tbody tr")).to_have_count(1)
    expect(operator.page.locator("#result_list")).to_contain_text("Warehouse")


def test_a_test_shows_the_response_at_once(operator: Visit, receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(503, b"closed until Monday") if count == 1 else Answer(200, b"open")
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.press("Send a test")
    operator.reads("It did not arrive.")
    operator.reads("closed until Monday")
    expect(operator.page.get_by_role("row", name="Status")).to_contain_text("503")
    operator.press("Send another test")
    operator.reads("It arrived.")
    expect(operator.page.get_by_role("row", name="Status")).to_contain_text("200")
    assert receiver.topics == ["webhook.test"] * 2


@pytest.mark.parametrize(
    ("choice", "arrives"),
    [
        ("Send all of them, the longest due first", ["1001", "1042"]),
        ("Send those that are newer than the time below, and skip the others", ["1042"]),
        ("Skip all of them: only what happens from now on is sent", []),
    ],
)
def test_a_paused_subscription_says_so_and_goes_on_by_the_choice(
    operator: Visit, worker: None, receiver: RecordingReceiver, choice: str, arrives: list[str]
) -> None:
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.press("Pause")
    operator.reads("1 subscription is paused.")
    operator.reads("Paused: nothing is sent to it.")
    for number, days in (("1001", 5), ("1042", 0)):
        event = make_event(order_number=number, payload={"order": {"number": number}, "changes": {}})
        make_delivery_at(timezone.now() - timedelta(days=days), event=event, subscription=subscription)

    operator.press("Resume…")
    operator.reads("Deliveries held: 2.")
    operator.reads("from the last hour: 1")
    operator.page.get_by_label(choice).check()
    operator.press("Resume")
    operator.reads("1 subscription is active again.")
    expect(operator.button("Pause")).to_be_visible()
    # What the test itself sends comes after all that was held.
    operator.press("Send a test")
    operator.reads("It arrived.")
    receiver.wait_for(len(arrives) + 1)
    numbers = [one.event["data"]["order"]["number"] for one in receiver.received if one.topic != "webhook.test"]
    assert sorted(numbers) == arrives


def test_a_rotated_secret_is_shown_once_and_the_former_counts_down(operator: Visit) -> None:
    subscription = make_subscription(name="Warehouse")
    former = _secret_of(subscription)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.press("New secret…")
    operator.page.get_by_label("signs beside the new one for 6 hours").check()
    operator.press("Make it")
    shown = operator.page.get_by_label("Signing secret:").input_value()
    assert shown == _secret_of(subscription) != former
    operator.follow("I have copied it")
    expect(operator.page.locator(".field-signing_secrets")).to_contain_text("signs until")
    expect(operator.page.locator(".field-signing_secrets")).to_contain_text(re.compile("for (6 h 0|5 h 59) min"))
    assert shown not in operator.page.content()
    operator.press("Revoke former secrets…")
    operator.press("Revoke now")
    operator.reads("1 former secret is revoked")
    expect(operator.page.locator(".field-signing_secrets")).not_to_contain_text("signs until")


def test_a_secret_is_revealed_to_users_who_may_and_it_is_in_the_history(visit: Callable[..., Visit]) -> None:
    subscription = make_subscription(name="Warehouse")
    page = f"subscription/{subscription.pk}/change/"
    manager = visit(make_user("view_subscription", "change_subscription", is_staff=True))
    manager.go(page)
    expect(manager.button("Send a test")).to_be_visible()
    expect(manager.button("Reveal secrets")).to_have_count(0)

    keeper = visit(make_user("view_subscription", "reveal_secret", is_staff=True))
    keeper.go(page)
    expect(keeper.button("Send a test")).to_have_count(0)
    keeper.press("Reveal secrets")
    expect(keeper.page.get_by_label("Signing secret:")).to_have_value(_secret_of(subscription))

    manager.go(f"subscription/{subscription.pk}/history/")
    row = manager.page.get_by_role("row", name="Revealed the signing secrets.")
    expect(row).to_contain_text(keeper.user.get_username())


def test_who_is_mailed_about_what_is_set_on_the_page(operator: Visit, receiver: RecordingReceiver) -> None:
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    operator.go(f"subscription/{subscription.pk}/change/")
    operator.page.get_by_label("Contact:").fill("ops@example.com")
    box = operator.page.locator("#id_mail_recovered")
    was_checked = box.is_checked()
    box.set_checked(not was_checked)
    operator.press("Save and continue editing")
    operator.reads("was changed successfully")
    expect(operator.page.get_by_label("Contact:")).to_have_value("ops@example.com")
    expect(box).to_be_checked(checked=not was_checked)


def test_an_endpoint_that_fails_is_seen_on_the_list_and_explained_by_its_banner(
    operator: Visit, worker: None, receiver: RecordingReceiver
) -> None:
    receiver.answer = lambda count: Answer(500, b"out of paper")
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    make_delivery(subscription=subscription)
    receiver.wait_for(1)
    row = operator.page.locator("#result_list tbody tr")
    operator.go_until("subscription/", row, "1 failed")
    expect(row).to_contain_text("failing for")
    expect(row).to_contain_text("500")
    operator.follow("Warehouse")
    operator.reads("Failing since")
    operator.reads("it will be disabled at")


def _secret_of(subscription: Subscription) -> str:
    """The newest."""
    return subscription.reveal_secrets(by="", now=timezone.now())[0]
