"""A delivery's summary: each situation and its words."""

from datetime import UTC, datetime, timedelta

import pytest

from orderhooks.models import Attempt, Delivery, Event, Subscription
from orderhooks.reporting import delivery_summary, endpoint_health
from orderhooks.transport.outcomes import NEXT_STEPS

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUSY, SLOW, WELL = (503, "status"), (None, "timeout"), (200, "")


def told(outcomes=(), subscription=(), blocker=None, behind=0, carrier=None, carried=0, **fields) -> str:
    """The summary of a delivery to "Warehouse" with these attempts; `next` is the wait in minutes."""
    endpoint = Subscription(**{"name": "Warehouse", "state": "active", **dict(subscription)})
    event = Event(sequence=2, order_number="1042", public_id="evt_2")
    wait = fields.pop("next", None)
    if wait is not None:
        fields["next_attempt_at"] = NOW + wait * MINUTE
    fields = {"state": "pending", "finished_at": NOW, "attempts_made": len(outcomes), **fields}
    delivery = Delivery(event=event, subscription=endpoint, **fields)
    attempts = [
        Attempt(number=number, status_code=status, error=error) for number, (status, error) in enumerate(outcomes, 1)
    ]
    newest_first = attempts[::-1]
    facts = {"blocker": blocker, "behind": behind, "carrier": carrier, "carried": carried}
    return " ".join(delivery_summary.sentences(delivery, newest_first, now=NOW, most=10, **facts))


def event(number: int, state: str) -> Delivery:
    return Delivery(event=Event(sequence=number, public_id=f"evt_{number}"), state=state)


PAUSED, DISABLED = {"state": "paused"}, {"state": "disabled", "state_reason": "It responded with 410 Gone."}
COOLING = {
    "circuit_open_until": NOW + 2 * MINUTE,
    "failing_since": NOW - 30 * MINUTE,
    "last_failure_at": NOW - MINUTE,
    "last_failure_kind": "status",
    "last_failure_status": 503,
}
SUMMARIES = [
    (told(next=0), "Nothing has been sent yet. It is due: a worker sends it next (attempt 1 of 10)."),
    (
        told([BUSY] * 3, next=4),
        "Warehouse responded with 503 three times. The next try is in 4 min (attempt 4 of 10).",
    ),
    (
        told([SLOW, BUSY, BUSY], next=125),
        "Warehouse did not respond in time once and responded with 503 twice."
        " The next try is in 2 h 5 min (attempt 4 of 10).",
    ),
    (
        told([WELL, BUSY], next=1),
        "Warehouse responded with 200 once and responded with 503 once. The next try is in 1 min (attempt 3 of 10).",
    ),
    (
        told(next=-12),
        "Nothing has been sent yet. It has been due for 12 min (attempt 1 of 10), and no worker has sent it:"
        " either none is running, or the endpoint has a backlog or limits of its own.",
    ),
    (told([WELL], state="delivered"), "Delivered at 3 a.m. on attempt 1."),
    (
        told([SLOW, WELL], state="delivered", finished_at=NOW - timedelta(days=1)),
        "Delivered at Nov. 23, 2026, 3 a.m. on attempt 2. Before that, Warehouse did not respond in time once.",
    ),
    (
        told([WELL, WELL], state="delivered", trigger="manual", requested_by="alice"),
        "Delivered at 3 a.m. on attempt 2. alice had it sent by hand.",
    ),
    (
        told([BUSY], state="failed", trigger="test", requested_by="alice"),
        "Failed at 3 a.m.: a test is tried once. Warehouse responded with 503 once. alice sent it as a test.",
    ),
    (
        told(state="sending", attempts_made=1, trigger="test", lease_expires_at=NOW + MINUTE),
        "An operator sent it as a test. It is being sent now (attempt 1 of 10).",
    ),
    (
        told([WELL], next=0, requested_by="replay rpl_1 by alice"),
        "Warehouse responded with 200 once. It is sent again by replay rpl_1 by alice."
        " It is due: a worker sends it next (attempt 2 of 10).",
    ),
    (
        told([], next=0, requested_by="backfill bfl_1 by alice"),
        "Nothing has been sent yet. It is sent by backfill bfl_1 by alice."
        " It is due: a worker sends it next (attempt 1 of 10).",
    ),
    (
        told([BUSY] * 10, state="failed"),
        "Given up at 3 a.m. after 10 attempts: nothing more is sent until it is redelivered."
        " Warehouse responded with 503 ten times.",
    ),
    (
        told([BUSY] * 11, state="failed", behind=3),
        "Given up at 3 a.m. after 11 attempts: nothing more is sent until it is redelivered."
        " Warehouse responded with 503 11 times."
        " It holds up 3 later deliveries of order 1042: the subscription is ordered.",
    ),
    (
        told([BUSY], state="failed", behind=101),
        "Given up at 3 a.m. after 1 attempt: nothing more is sent until it is redelivered."
        " Warehouse responded with 503 once."
        " It holds up 100+ later deliveries of order 1042: the subscription is ordered.",
    ),
    (
        told(state="skipped"),
        "Skipped at 3 a.m.: an operator decided not to send it.",
    ),
    (
        told(next=1, update_due_at=NOW + MINUTE, subscription={"update_interval_seconds": 300}),
        "Nothing has been sent yet. Waits until 3:01 a.m., in 1 min: Warehouse gets at most one order.updated of an"
        " order in 5 min.",
    ),
    (
        told(next=1, merged_changes={}, carried=2, update_due_at=NOW, subscription=PAUSED),
        "It carries the changes of 2 earlier updates of the order, too. Nothing has been sent yet."
        " Held: the subscription is paused by an operator. Resume it, and this is sent.",
    ),
    (
        told([BUSY], next=1, update_due_at=NOW, subscription={"update_interval_seconds": 300}),
        "Warehouse responded with 503 once. The next try is in 1 min (attempt 2 of 10).",
    ),
    (
        told(state="skipped", merges_from=1, carrier=event(3, "pending")),
        "Merged at 3 a.m. into evt_3, a later update of the order, which carries its changes.",
    ),
    (
        told(state="skipped", merges_from=1),
        "Merged at 3 a.m. into a later update of the order, which carried its changes.",
    ),
    (
        told(state="skipped", merges_from=1, merged_changes={}),
        "Skipped at 3 a.m.: an operator decided not to send it.",
    ),
    (
        told([BUSY], subscription=PAUSED, next=4),
        "Warehouse responded with 503 once."
        " Held: the subscription is paused by an operator. Resume it, and this is sent.",
    ),
    (
        told([BUSY], subscription=DISABLED, next=4),
        "Warehouse responded with 503 once. Held: the subscription is disabled. It responded with 410 Gone.",
    ),
    (told(subscription={"state": "disabled"}), "Nothing has been sent yet. Held: the subscription is disabled."),
    (
        told([BUSY], subscription=COOLING, next=1),
        "Warehouse responded with 503 once. Waits until 3:02 a.m. because Warehouse responded with 503 at 2:59 a.m.;"
        " failing since 2:30 a.m. Then it is sent (attempt 2 of 10). Redeliver it to send it at once.",
    ),
    (
        told([BUSY], subscription=COOLING, next=4),
        "Warehouse responded with 503 once. The next try is in 4 min (attempt 2 of 10).",
    ),
    (
        told([BUSY] * 10, subscription=COOLING, next=0, trigger="manual"),
        "Warehouse responded with 503 ten times. An operator asked for it to be sent."
        " It is due: a worker sends it next (attempt 11).",
    ),
    (
        told(next=0, trigger="manual", requested_by="alice", subscription=PAUSED),
        "Nothing has been sent yet. alice asked for it to be sent; it goes out when the subscription is resumed."
        " Held: the subscription is paused by an operator. Resume it, and this is sent.",
    ),
    (
        told([BUSY] * 3, next=4, uncounted_attempts=2),
        "Warehouse responded with 503 three times. The next try is in 4 min (automatic attempt 2 of 10).",
    ),
    (
        told([BUSY] * 10, next=0, trigger="manual", requested_by="alice", uncounted_attempts=10),
        "Warehouse responded with 503 ten times. alice asked for it to be sent."
        " It is due: a worker sends it next (attempt 11, by hand).",
    ),
    (
        told([BUSY], state="sending", attempts_made=2, trigger="manual", lease_expires_at=NOW + MINUTE),
        "Warehouse responded with 503 once. An operator had it sent by hand. It is being sent now (attempt 2 of 10).",
    ),
    (
        told(blocker=event(1, "failed"), next=0),
        "Nothing has been sent yet. Waits for order 1042's earlier event evt_1, which failed: the subscription is"
        " ordered. Redeliver or skip that one first.",
    ),
    (
        told(blocker=event(1, "pending"), next=0),
        "Nothing has been sent yet. Waits for order 1042's earlier event evt_1, which has not finished: the"
        " subscription is ordered.",
    ),
    (
        told(blocker=event(3, "sending"), next=0),
        "Nothing has been sent yet. Waits while order 1042's later event evt_3 is under way: the subscription is"
        " ordered.",
    ),
    (
        told([BUSY], blocker=event(1, "failed"), subscription=PAUSED, next=0),
        "Warehouse responded with 503 once."
        " Held: the subscription is paused by an operator. Resume it, and this is sent.",
    ),
    (
        told([BUSY], state="sending", attempts_made=2, lease_expires_at=NOW + MINUTE),
        "Warehouse responded with 503 once. It is being sent now (attempt 2 of 10).",
    ),
    (
        told([BUSY], state="sending", attempts_made=2, lease_expires_at=NOW - MINUTE),
        "Warehouse responded with 503 once. The worker that sends it should have finished 1 min ago."
        " Another worker takes it over.",
    ),
    (
        told(state="failed", last_error="filter", last_detail="The filter can't judge this event: no number."),
        "Failed at 3 a.m. without an attempt: nothing is sent until it is redelivered. Warehouse was not called: its"
        " filter could not judge the event. The filter can't judge this event: no number."
        " Change the subscription's filter; the next attempt judges the event again.",
    ),
    (
        told(state="skipped", last_error="filtered", last_detail="The filter leaves the event out."),
        "Skipped at 3 a.m.: the subscription's filter leaves the event out. The filter leaves the event out.",
    ),
    (
        told(state="skipped", attempts_made=3, last_error="timeout", last_detail="No response came."),
        "Skipped at 3 a.m.: an operator decided not to send it. Warehouse did not respond in time. No response came.",
    ),
]


@pytest.mark.parametrize(("words", "expected"), SUMMARIES)
def test_a_summary_says_what_happened_and_what_comes(words, expected):
    assert words == expected


def test_every_kind_of_error_has_its_words():
    assert {*endpoint_health.OUTCOMES, "status"} == set(NEXT_STEPS)
