"""`Q_CLUSTER["sync"]`: what a save wakes runs within it, sends what is due, and ends at once."""

import pytest
from django_q.conf import Conf

from orderhooks import conf, pumping, tasks
from orderhooks.models import Delivery, Pump, Subscription
from tests.factories import make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not Conf.ORM, reason="a broker of another kind is called by a thread of its own, beside the save"
    ),
]


@pytest.fixture(autouse=True)
def within_the_save(settings, monkeypatch) -> list[float]:
    """How long each pump was to linger. The setting is what a store has."""
    monkeypatch.setattr(Conf, "SYNC", True)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "LINGER_SECONDS": 10}
    lingered: list[float] = []
    pump = pumping.Turn._pump

    def told(*arguments, linger_seconds: float, **options) -> None:
        lingered.append(linger_seconds)
        assert len(lingered) < 20, "it calls itself over and over"
        pump(*arguments, linger_seconds=linger_seconds, **options)

    monkeypatch.setattr(pumping.Turn, "_pump", told)
    return lingered


def test_a_save_sends_and_does_not_linger(within_the_save, receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    assert receiver.topics == ["order.created"]
    assert conf.current().linger_seconds == 10
    assert within_the_save
    assert set(within_the_save) == {0.0}


def test_what_stays_due_does_not_make_a_pump_call_itself(within_the_save, receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(503)
    make_subscription(url=receiver.url, topics=["order.created"], max_in_flight=1, max_per_second=1)
    make_order(lines=[])
    make_order(lines=[])
    assert Delivery.objects.filter(state="pending").count() == 2
    assert not Pump.objects.fresh().exists()
    assert Subscription.objects.get().last_failure_at is not None
    tasks.pump()
