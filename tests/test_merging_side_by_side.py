"""Updates that merge while several processes publish, route and send; and what their receiver makes of them."""

import random
import re
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from orderhooks import routing, sending
from orderhooks.models import Delivery, Event, Order
from orderhooks.receiver import DatabaseDeduplicator, DatabaseSequenceGuard, ReceivedEvent, webhook
from orderhooks.transport import Outcome
from tests import merging_child
from tests.factories import claim, make_order, make_subscription
from tests.test_crashes import Machine, machine

__all__ = ["machine"]

STATUSES = [
    ("order.authorized", {"payment_status": "authorized"}),
    ("order.paid", {"payment_status": "paid"}),
    ("order.fulfilled", {"fulfillment_status": "fulfilled"}),
]
SECOND = timedelta(seconds=1)


class Crm:
    """A receiver that copies orders, with the guards that the documents recommend."""

    def __init__(self, secret: str) -> None:
        self.notes: dict[str, str] = {}
        self.payments: dict[str, str] = {}
        self.status_changes: dict[str, list[str]] = defaultdict(list)
        self.endpoint = webhook(
            secret, deduplicate=DatabaseDeduplicator("crm"), skip_stale=DatabaseSequenceGuard("crm")
        )(self.act)

    def act(self, request: HttpRequest, event: ReceivedEvent) -> None:
        number = event.order.number
        self.notes[number] = event.data["order"]["note"]
        self.payments[number] = event.order.payment_status
        if event.topic != "order.updated":
            self.status_changes[number].append(event.topic)

    def receive(self, delivery: Delivery, *, now: datetime) -> Outcome:
        request = sending.prepare(delivery, now=now)
        response = self.endpoint(
            RequestFactory().generic(
                "POST", "/", request.body, content_type="application/json", headers=request.headers
            )
        )
        # 200 says that it, or a newer one, was acted on already.
        assert response.status_code in (200, 204)
        return Outcome(status_code=response.status_code)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_receiver_sees_each_status_change_once_and_in_order_and_the_last_state(ordered: bool, seed: int) -> None:
    topics = ["order.updated", *(topic for topic, _values in STATUSES)]
    subscription = make_subscription(update_interval_seconds=1, ordered=ordered, topics=topics)
    crm = Crm(subscription.new_secret)
    chance = random.Random(seed)
    orders = [make_order(lines=[]) for _ in range(5)]
    Event.objects.all().delete()
    steps: list[tuple[Order, int | None]] = [(chance.choice(orders), None) for _ in range(50)]
    for order in orders:
        places = sorted(chance.sample(range(len(steps) + 1), len(STATUSES)))
        for status, place in reversed(list(enumerate(places))):
            steps.insert(place, (order, status))
    now = timezone.now()
    updates: dict[str, list[datetime]] = defaultdict(list)

    def send() -> None:
        while routing.route(now=now):
            pass  # a turn ends after a second
        # As often as something is due: in an ordered subscription one event waits for the other.
        while claimed := claim(100, now=now):
            chance.shuffle(claimed)
            results = []
            for delivery in claimed:
                if delivery.event.topic == "order.updated":
                    updates[delivery.event.order_number].append(now)
                results.append(sending.Sent(delivery, {}, now, crm.receive(delivery, now=now)))
            sending.record(results, now=now)

    for number, (order, change) in enumerate(steps):
        values = {"note": f"note {number}"} if change is None else STATUSES[change][1]
        for name, value in values.items():
            setattr(order, name, value)
        order.save()
        now += 0.13 * SECOND
        send()
    now += SECOND
    send()
    assert not Delivery.objects.filter(state="pending").exists()
    for order in orders:
        assert crm.status_changes[order.number] == [topic for topic, _values in STATUSES]
        assert (crm.notes[order.number], crm.payments[order.number]) == (order.note, order.payment_status)
        times = updates[order.number]
        too_soon = [late for early, late in pairwise(times) if late - early < SECOND]
        # In an ordered subscription an update that waits goes out before an event of another topic.
        assert len(too_soon) <= (len(STATUSES) if ordered else 0)
    assert Delivery.objects.filter(merges_from__isnull=False).exists()


Counted = tuple[str, int, int]


def sent_by(output: str) -> list[Counted]:
    return [(order, int(old), int(new)) for order, old, new in re.findall(r"^(\d+) \[(\d+), (\d+)\]$", output, re.M)]


@pytest.mark.slow
def test_of_several_workers_one_sends_an_update_at_once_and_one_the_rest(machine: Machine) -> None:
    machine.module = "tests.merging_child"
    machine.run("prepare")
    running = [machine.start("publish"), *(machine.start("work") for _ in range(3))]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    at_once = [one for output, _errors in outputs for one in sent_by(output)]
    finished = machine.run("finish")
    assert f"left 0 {merging_child.ORDERS * merging_child.UPDATES}" in finished
    later = sent_by(finished)
    assert sorted(order for order, _old, _new in at_once) == [str(order) for order in range(merging_child.ORDERS)]
    # Nothing is lost and nothing is sent twice: the second begins where the first ended.
    ends = {order: (old, new) for order, old, new in later}
    for order, old, new in at_once:
        assert old == 0
        assert ends.get(order, (new, merging_child.UPDATES)) == (new, merging_child.UPDATES)
    assert len(later) == len(ends)
