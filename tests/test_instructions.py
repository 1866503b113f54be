"""The header `webhook-delivery`: a receiver asks to be disabled, or that a delivery is not tried again."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils import timezone

from orderhooks import operations, reporting
from orderhooks.models import Delivery
from orderhooks.receiver import ReceivedEvent, abort, disable, webhook
from orderhooks.reporting import Reason, delivery_summary
from orderhooks.signals import delivery_failed, subscription_disabled
from orderhooks.transport import Instruction, Outcome
from tests.factories import make_delivery, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver
from tests.signed_webhooks import BODY, SECRET, signed

pytestmark = pytest.mark.django_db(transaction=True)


def answering(receiver: RecordingReceiver, status: int, value: str) -> None:
    receiver.answer = lambda count: Answer(status, headers=(("Webhook-Delivery", value),))


def sent(receiver: RecordingReceiver, **delivery: Any) -> Delivery:
    made = make_delivery(subscription=make_subscription(url=receiver.url), **delivery)
    assert send_due() == 1
    return Delivery.objects.select_related("event", "subscription").get(pk=made.pk)


@pytest.mark.parametrize(
    ("value", "instruction"),
    [
        ("disable", Instruction.DISABLE),
        (" Disable ", Instruction.DISABLE),
        ("abort-message", Instruction.ABORT),
        ("ABORT", Instruction.ABORT),
        ("disabled", None),
        ("disable, abort-message", None),
        ("disable;q=1", None),
        ("", None),
    ],
)
def test_only_exact_values_are_instructions(value: str, instruction: Instruction | None) -> None:
    assert Outcome(status_code=200, response_headers={"Webhook-Delivery": value}).instruction is instruction


@pytest.mark.parametrize("error", ["handshake", "timeout", "protocol", "too_large", "login"])
def test_what_is_no_complete_response_to_a_webhook_gives_no_instruction(error: str) -> None:
    assert Outcome(status_code=200, error=error, response_headers={"webhook-delivery": "disable"}).instruction is None


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (503, "pending"), (422, "pending")])
def test_disable_disables_whatever_the_status_and_holds_what_comes(
    receiver: RecordingReceiver, status: int, state: str
) -> None:
    told = []

    def hear(**kwargs: Any) -> None:
        told.append(kwargs["subscription"].pk)

    subscription_disabled.connect(hear)
    try:
        answering(receiver, status, "disable")
        delivery = sent(receiver)
    finally:
        subscription_disabled.disconnect(hear)
    assert delivery.state == state
    assert delivery.subscription.state == "disabled"
    assert "receiver asked to be disabled" in delivery.subscription.state_reason
    assert told == [delivery.subscription.pk]
    assert "asks to be disabled" in delivery.attempts.get().detail
    make_delivery(subscription=delivery.subscription)
    assert send_due(now=delivery.next_attempt_at or timezone.now()) == 0


def test_disable_counts_in_an_attempt_by_hand_and_not_in_a_test(receiver: RecordingReceiver) -> None:
    answering(receiver, 200, "disable")
    subscription = make_subscription(url=receiver.url)
    operations.send_test(subscription)
    subscription.refresh_from_db()
    assert (len(receiver.received), subscription.state) == (1, "active")
    assert sent(receiver, trigger="manual").subscription.state == "disabled"


@pytest.mark.parametrize("status", [301, 422, 429, 503])
def test_abort_ends_the_delivery_and_blames_nobody(receiver: RecordingReceiver, status: int) -> None:
    told = []

    def hear(**kwargs: Any) -> None:
        told.append(kwargs["delivery"].pk)

    delivery_failed.connect(hear)
    try:
        answering(receiver, status, "abort-message")
        delivery = sent(receiver)
    finally:
        delivery_failed.disconnect(hear)
    assert (delivery.state, delivery.last_error, delivery.last_status_code) == ("failed", "aborted", status)
    assert delivery.next_attempt_at is None
    assert told == [delivery.pk]
    subscription = delivery.subscription
    assert (subscription.state, subscription.consecutive_failures) == ("active", 0)
    assert (subscription.failing_since, subscription.circuit_open_until) == (None, None)


def test_abort_ends_a_streak_of_failures(receiver: RecordingReceiver) -> None:
    since = timezone.now() - timedelta(days=6)
    subscription = make_subscription(url=receiver.url, failing_since=since, consecutive_failures=9, slow_start_limit=1)
    answers = {1: Answer(422, headers=(("webhook-delivery", "abort-message"),)), 2: Answer(500)}
    receiver.answer = lambda count: answers[count]
    for _ in answers:
        make_delivery(subscription=subscription)
        assert send_due() == 1
    subscription.refresh_from_db()
    assert (subscription.state, subscription.consecutive_failures, subscription.last_success_at) == ("active", 1, None)
    assert subscription.failing_since is not None
    assert subscription.failing_since > since
    assert subscription.slow_start_limit != 1


def test_an_aborted_delivery_that_still_has_a_planned_attempt_ends_too(receiver: RecordingReceiver) -> None:
    answering(receiver, 422, "abort-message")
    delivery = sent(receiver, trigger="manual", planned_at=timezone.now())
    assert (delivery.state, delivery.next_attempt_at, delivery.planned_at) == ("failed", None, None)


def test_abort_with_a_success_changes_nothing(receiver: RecordingReceiver) -> None:
    answering(receiver, 204, "abort-message")
    delivery = sent(receiver)
    assert (delivery.state, delivery.last_error) == ("delivered", "")


def test_410_with_abort_disables_and_ends_the_delivery(receiver: RecordingReceiver) -> None:
    answering(receiver, 410, "abort-message")
    delivery = sent(receiver)
    assert (delivery.state, delivery.subscription.state) == ("failed", "disabled")


def test_an_unknown_value_is_ignored_and_the_attempt_says_so_without_quoting_it(receiver: RecordingReceiver) -> None:
    answering(receiver, 500, "abandon-4711")
    delivery = sent(receiver)
    attempt = delivery.attempts.get()
    assert (delivery.state, delivery.last_error) == ("pending", "status")
    assert "webhook-delivery has an unknown value, which was ignored" in attempt.detail
    assert "4711" not in attempt.detail
    assert attempt.response_headers["Webhook-Delivery"] == "abandon-4711"


def test_the_reports_say_why_an_aborted_delivery_did_not_arrive(receiver: RecordingReceiver) -> None:
    answering(receiver, 422, "abort-message")
    delivery = sent(receiver)
    (report,) = reporting.event_reports([delivery.event], at_most=9)
    (outcome,) = report.outcomes
    assert outcome.reason is Reason.ABORTED
    text = reporting.subscription_outcome_text(outcome, now=timezone.now())
    assert text == "failed: the receiver asked that it is not tried again"
    summary = " ".join(delivery_summary.summarize(delivery, list(delivery.attempts.all()), now=timezone.now()))
    assert Delivery.objects.answered(4).filter(pk=delivery.pk).exists(), "the log's filter has it as a 4xx"
    assert "refused it and asked that it is not tried again once" in summary


@pytest.mark.parametrize(
    ("response", "status", "value"),
    [(abort("Not ours."), 422, "abort-message"), (disable("Not ours."), 410, "disable")],
)
def test_a_view_of_the_receiver_kit_says_so(response: HttpResponse, status: int, value: str) -> None:
    @webhook(SECRET, tolerance_seconds=1e12)
    def view(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
        return response

    got = view(RequestFactory().post("/", BODY, content_type="application/json", headers=signed()))
    assert (got.status_code, got.headers["webhook-delivery"]) == (status, value)
    assert json.loads(got.content) == {"error": "Not ours."}  # type: ignore[attr-defined]
