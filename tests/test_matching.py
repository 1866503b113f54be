"""Where changed fields and filters count: routing, replays, backfills, the feed, missed events, previews, reports."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import backfilling, matching, operations, previews, replaying, reporting, routing, sending
from orderhooks.matching import Mismatch
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.reporting import Reason
from tests.factories import claim_one, make_event_at, make_order, make_subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db

EUROS = "data.order.currency == 'EUR'"
# Not refused when it is saved, and fails on an order that has no list of tags.
TAGGED = "contains(data.order.metadata.tags, 'vip')"
STATUS = {"status": ["open", "closed"]}
ROUTED: dict[str, Any] = {"routed_at": timezone.now()}
LINES = {"lines": [[], [{"id": 1, "sku": "a", "quantity": 1}]]}


def make(currency: str = "EUR", changes: Any = None, **fields: Any) -> Event:
    order = {"number": "1001", "currency": currency, "metadata": fields.pop("metadata", {})}
    payload = {"order": order, "changes": changes or {}}
    return make_event_at(
        timezone.now() - timedelta(minutes=1),
        **{"payload": payload, "changes": changes or {}, "routed_at": None, "source": "orderhooks", **fields},
    )


def named(**choices: Any) -> Subscription:
    subscription = make_subscription(topics=["order.*"], name=str(choices), url="https://crm.example.org/")
    # As it may be stored: the example of the topic need not be like the events.
    Subscription.objects.filter(pk=subscription.pk).update(**choices)
    subscription.refresh_from_db()
    return subscription


def sent_to(subscription: Subscription) -> list[str]:
    routing.route(now=timezone.now())
    return list(Delivery.objects.filter(subscription=subscription).values_list("state", flat=True))


@pytest.mark.parametrize(
    ("choices", "event", "states"),
    [
        ({"filter": EUROS}, {}, ["pending"]),
        ({"filter": EUROS}, {"currency": "USD"}, []),
        ({"filter": TAGGED}, {"metadata": {"tags": ["vip"]}}, ["pending"]),
        ({"filter": TAGGED}, {"metadata": {"tags": []}}, []),
        ({"filter": TAGGED}, {"metadata": {}}, ["pending"]),
        ({"filter": "not an expression"}, {}, ["pending"]),
        ({"changed_fields": ["lines"]}, {"topic": "order.updated", "changes": LINES}, ["pending"]),
        ({"changed_fields": ["lines"]}, {"topic": "order.updated", "changes": STATUS}, []),
        ({"changed_fields": ["lines"]}, {"topic": "order.updated", "changes": {}}, ["pending"]),
        ({"changed_fields": ["lines"]}, {"topic": "order.closed", "changes": STATUS}, ["pending"]),
        ({"changed_fields": ["status"], "filter": EUROS}, {"changes": STATUS, "currency": "USD"}, []),
        ({"changed_fields": ["lines"], "filter": EUROS}, {"topic": "order.updated", "changes": STATUS}, []),
        # A source that is gone: nobody knows its fields.
        ({"changed_fields": ["lines"]}, {"topic": "order.updated", "changes": STATUS, "source": "gone"}, ["pending"]),
    ],
)
def test_an_event_goes_to_those_that_select_it(choices: Any, event: Any, states: list[str]) -> None:
    subscription, other = named(**choices), make_subscription(topics=["*"], name="all")
    make(**event)
    assert sent_to(subscription) == states
    assert sent_to(other) == ["pending"]


def attempt(subscription: Subscription, *, days: int = 1) -> Delivery:
    """What came of an attempt of the subscription's only delivery, so many days later."""
    now = timezone.now() + timedelta(days=days)
    with sending.Sender(threads=1, clock=lambda: now) as sender:
        sender.claim(now=now)
    return Delivery.objects.get(subscription=subscription)


def test_what_a_filter_cannot_judge_is_held_and_says_why() -> None:
    subscription = named(filter=TAGGED)
    event = make(metadata={})
    sent_to(subscription)
    held = Delivery.objects.get(event=event)
    assert (held.state, held.attempts_made, held.last_error) == ("pending", 0, "filter")
    why = "The filter can't judge this event: contains() takes array or string, and got null here."
    assert held.last_detail == why
    held = attempt(subscription)
    assert (held.state, held.attempts_made, held.last_error) == ("pending", 1, "filter")
    assert held.last_detail == f"{why} Change the subscription's filter; the next attempt judges the event again."
    # It says nothing about the endpoint.
    subscription.refresh_from_db()
    assert subscription.consecutive_failures == 0


@pytest.mark.parametrize(
    ("filter", "state", "error"),
    [(EUROS, "delivered", ""), ("", "delivered", ""), (f"!({EUROS})", "skipped", "filtered")],
)
def test_the_next_attempt_judges_by_the_corrected_filter(
    receiver: RecordingReceiver, filter: str, state: str, error: str
) -> None:
    subscription = named(filter=TAGGED, url=receiver.url)
    make(metadata={})
    sent_to(subscription)
    attempt(subscription)
    Subscription.objects.filter(pk=subscription.pk).update(filter=filter)
    delivery = attempt(subscription, days=2)
    assert (delivery.state, delivery.last_error) == (state, error)
    assert len(receiver.received) == (state == "delivered")
    reason = reporting.explain(delivery.event, subscription, delivery)
    assert reason == (Reason.DELIVERED if state == "delivered" else Reason.FILTERED)


def test_an_attempt_that_was_lost_does_not_send_what_no_filter_has_judged(receiver: RecordingReceiver) -> None:
    subscription = named(filter=TAGGED, url=receiver.url)
    make(metadata={})
    sent_to(subscription)
    claim_one()
    # Its worker died.
    assert sending.recover(now=timezone.now() + timedelta(hours=1)) == 1
    assert Delivery.objects.get().last_error == "internal"
    Subscription.objects.update(filter=f"!({EUROS})")
    delivery = attempt(subscription)
    assert (delivery.state, delivery.last_error, receiver.received) == ("skipped", "filtered", [])


def test_a_person_can_send_what_a_filter_left_out(receiver: RecordingReceiver) -> None:
    subscription = named(filter=TAGGED, url=receiver.url)
    make(metadata={})
    sent_to(subscription)
    Subscription.objects.update(filter=f"!({EUROS})")
    assert attempt(subscription).state == "skipped"
    operations.redeliver(Delivery.objects.all())
    assert attempt(subscription, days=2).state == "delivered"


def test_a_person_who_is_early_does_not_send_what_a_filter_leaves_out(receiver: RecordingReceiver) -> None:
    subscription = named(filter=TAGGED, url=receiver.url)
    make(metadata={})
    sent_to(subscription)
    Subscription.objects.update(filter=f"!({EUROS})")
    operations.redeliver(Delivery.objects.all())
    assert (attempt(subscription).state, receiver.received) == ("skipped", [])


def test_a_filter_that_many_have_is_evaluated_once_for_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    subscriptions = [make_subscription(topics=["order.*"], filter=EUROS, name=str(number)) for number in range(20)]
    subscriptions += [make_subscription(topics=["order.*"], filter=f"!({EUROS})", name="others")]
    evaluated: list[str] = []
    plain = matching._evaluated

    def count(text: str, body: Any) -> matching.Verdict:
        evaluated.append(text)
        return plain(text, body)

    monkeypatch.setattr(matching, "_evaluated", count)
    events = [make(), make("USD")]
    routing.route(now=timezone.now())
    assert sorted(evaluated) == sorted([EUROS, f"!({EUROS})"] * 2)
    assert Delivery.objects.filter(event=events[0]).count() == 20
    assert Delivery.objects.filter(event=events[1]).count() == 1


def test_contents_are_read_only_for_those_that_choose_by_them() -> None:
    make_subscription(topics=["order.*"])
    make()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        routing.route(now=timezone.now())
    assert not [one for one in queries if '"payload"' in one["sql"] and one["sql"].startswith("SELECT")]


def test_a_replay_sends_and_counts_what_is_selected() -> None:
    subscription = named(filter=EUROS)
    wanted = [make(**ROUTED), make(**ROUTED)]
    make("USD", **ROUTED)
    since = timezone.now() - timedelta(hours=1)
    assert operations.preview_replay(subscription, since=since).count == 2
    replay = operations.replay(subscription, since=since)
    while replaying.process_batch(now=timezone.now()):
        pass
    replay.refresh_from_db()
    assert replay.done == 2
    assert set(Delivery.objects.values_list("event", flat=True)) == {event.pk for event in wanted}


@pytest.mark.parametrize("known", [False, True])
def test_a_replay_holds_what_the_filter_cannot_judge(receiver: RecordingReceiver, known: bool) -> None:
    subscription = named(filter=TAGGED, url=receiver.url)
    event = make(**ROUTED)
    if known:
        failed = {"state": "failed", "finished_at": timezone.now(), "last_error": "reset"}
        Delivery.objects.create(event=event, subscription=subscription, **failed)
    operations.replay(subscription, since=timezone.now() - timedelta(hours=1))
    replaying.process_batch(now=timezone.now())
    assert sent_to(subscription) == ["pending"]
    assert attempt(subscription).last_error == "filter"
    assert receiver.received == []


@pytest.mark.django_db(transaction=True)
def test_a_backfill_sends_what_is_selected() -> None:
    make_order(currency="USD")
    wanted = make_order(currency="EUR")
    subscription = make_subscription(topics=["order.*"], filter=EUROS)
    operations.backfill(subscription)
    while backfilling.process_batch(now=timezone.now() + timedelta(minutes=1)):
        pass
    made = Event.objects.filter(only_for=subscription.pk)
    assert list(made.values_list("order_number", flat=True)) == [wanted.number]
    assert Delivery.objects.count() == 1


def test_a_preview_says_whether_the_subscription_would_get_it() -> None:
    order = make_order(currency="EUR")
    wanted, other = named(filter=EUROS), named(filter="data.order.currency == 'USD'")
    found = [
        previews.preview(one, order.number, topic="order.paid", now=timezone.now()).wanted for one in (wanted, other)
    ]
    assert found == [True, False]


@pytest.mark.parametrize(
    ("choices", "reason", "text"),
    [
        (
            {"filter": "data.order.currency == 'USD'"},
            Reason.FILTERED,
            "filtered out: data.order.currency == 'USD' (data.order.currency is \"EUR\")",
        ),
        (
            {"changed_fields": ["lines", "total"]},
            Reason.UNTOUCHED,
            "changed none of the fields that it wants: lines, total",
        ),
        ({"filter": TAGGED}, Reason.WAITING, None),
        ({"filter": EUROS}, Reason.WAITING, None),
    ],
)
def test_a_report_says_why_an_event_was_not_sent(choices: Any, reason: Reason, text: str | None) -> None:
    subscription = named(**choices)
    event = make(topic="order.updated", changes=STATUS)
    routing.route(now=timezone.now())
    stored = list(Event.objects.filter(pk=event.pk).defer("payload", "changes"))
    [[outcome]] = [report.outcomes for report in reporting.event_reports(stored, at_most=5)]
    assert outcome.reason == reason
    if text:
        assert reporting.subscription_outcome_text(outcome, now=timezone.now()) == text
    hidden = reporting.subscription_outcome_text(outcome, now=timezone.now(), confidential=False)
    assert '"EUR"' not in hidden
    assert outcome.subscription == subscription


def test_a_report_reads_contents_in_one_query() -> None:
    named(filter="data.order.currency == 'USD'")
    events = [make() for _ in range(10)]
    routing.route(now=timezone.now())
    stored = Event.objects.filter(pk__in=[event.pk for event in events]).defer("payload", "changes")
    with CaptureQueriesContext(connection) as queries:
        reporting.event_reports(stored, at_most=5)
    assert len(queries) == 4


def test_every_mismatch_has_a_reason() -> None:
    from orderhooks.reporting import order_report

    assert set(order_report.MISMATCHES) == set(Mismatch)
