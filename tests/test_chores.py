"""What a pump does each second beside moving orders: a new order waits for one part of it, not for all."""

import time
from collections.abc import Callable

import pytest

from orderhooks import notifications, pumping, routing
from orderhooks.db import Wakeup
from orderhooks.models import Order, Subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


def make_turn() -> pumping.Turn:
    return pumping.Turn(other_work=lambda: False, notices_due=lambda: None, lingers=False)


def test_a_wake_up_comes_before_the_chores_that_are_left() -> None:
    turn, wakeup, done = make_turn(), Wakeup(), list[str]()
    wakes: dict[str, Callable[[], None]] = {"first": lambda: None, "second": wakeup.notify, "third": lambda: None}

    def chore(name: str) -> Callable[[], None]:
        def run() -> None:
            done.append(name)
            wakes[name]()

        return run

    turn.chores.extend(chore(name) for name in wakes)
    assert turn._do_chores(wakeup)
    assert done == ["first", "second"]
    assert not turn._do_chores(wakeup)
    assert done == ["first", "second", "third"]
    wakeup.close()


def test_a_turn_ends_with_its_chores_done_whatever_came_between(receiver: RecordingReceiver, monkeypatch) -> None:
    Subscription.create_with_secret(name="Warehouse", url=receiver.url, topics=["order.created"])
    looked: list[int] = []

    def look(turn: pumping.Turn) -> None:
        looked.append(len(receiver.received))

    monkeypatch.setattr(pumping.Turn, "_look_for_notices", look)
    do_chores = pumping.Turn._do_chores

    def wake_each_time(turn: pumping.Turn, wakeup: Wakeup) -> bool:
        wakeup.notify()
        return do_chores(turn, wakeup)

    monkeypatch.setattr(pumping.Turn, "_do_chores", wake_each_time)
    Order.objects.create()
    make_turn().run(until=time.monotonic() + 20)
    assert receiver.topics == ["order.created"]
    assert looked[0] == 1, "the order did not wait for the last chore"


def test_an_idle_pump_beats_in_time_and_not_when_the_next_order_wakes_it(monkeypatch) -> None:
    for name in ("LOOK_SECONDS", "IDLE_LOOK_SECONDS", "LISTENING_LOOK_SECONDS"):
        monkeypatch.setattr(pumping, name, 20.0)
    monkeypatch.setattr(pumping, "BEAT_SECONDS", 0.05)
    turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: None, keeps_its_worker=True)
    beats: list[float] = []
    beat = pumping.Turn._beat

    def count(*arguments) -> None:
        beats.append(time.monotonic())
        if len(beats) == 3:
            turn.stop()
        beat(*arguments)

    monkeypatch.setattr(pumping.Turn, "_beat", count)
    turn.run(until=time.monotonic() + 10)
    assert len(beats) == 3


def test_emails_are_not_looked_for_each_second(monkeypatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(notifications, "is_due", lambda now: True)
    turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: sent.append(1))
    turn._look_for_notices()
    turn._look_for_notices()
    assert len(sent) == 1
    turn.notices_at -= pumping.NOTICE_SECONDS
    turn._look_for_notices()
    assert len(sent) == 2


def test_a_pump_that_was_woken_routes_without_asking_first(monkeypatch) -> None:
    turn = pumping.Turn(other_work=lambda: False, notices_due=lambda: None, keeps_its_worker=True)
    woken, expected = [True, False], list[bool]()

    def wait(_wakeup: Wakeup, seconds: float) -> bool:
        if seconds and not woken:
            turn.stop()
        return bool(seconds) and bool(woken) and woken.pop(0)

    route = routing.route

    def watch(**options) -> int:
        expected.append(options["are_expected"])
        return route(**options)

    monkeypatch.setattr(Wakeup, "wait", wait)
    monkeypatch.setattr(routing, "route", watch)
    turn.run(until=time.monotonic() + 10)
    assert expected[-2:] == [True, False]
    assert expected.count(True) == 1
