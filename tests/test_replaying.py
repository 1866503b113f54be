"""Replays: which events go out again, as what, in batches that are done once; counted before, and cancelled."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from orderhooks import operations, replaying, retention, tasks
from orderhooks.db import public_ids
from orderhooks.models import Delivery, Event, Replay
from orderhooks.topics import UnknownTopicError
from tests.factories import cutoffs_at, make_delivery, make_event, make_event_at, make_replay, make_subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def woken(monkeypatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(tasks, "wake", lambda: calls.append(True))
    return calls


def process_batch() -> None:
    while replaying.process_batch(now=timezone.now()):
        pass


def due() -> list[Event]:
    rows = Delivery.objects.filter(state="pending").select_related("event").order_by("event_id")
    return [delivery.event for delivery in rows]


class TestWhatGoesOut:
    STATES = ("missing", "pending", "sending", "delivered", "failed", "skipped", "skipped after an attempt")

    @pytest.mark.parametrize(
        ("only", "expected"),
        [
            ("all", {"missing", "delivered", "failed", "skipped", "skipped after an attempt"}),
            ("failed", {"failed"}),
            ("never_sent", {"missing", "skipped"}),
        ],
    )
    def test_by_what_came_of_it_before(self, only: str, expected: set[str]) -> None:
        subscription = make_subscription()
        events = {state: make_event_at(NOW - HOUR) for state in self.STATES}
        for state, event in events.items():
            if state != "missing":
                fields = {"attempts_made": 0 if state == "skipped" else 3, "trigger": "manual"}
                make_delivery(subscription=subscription, event=event, state=state.split()[0], **fields)
        expected_count = operations.preview_replay(subscription, since=NOW - 2 * HOUR, only=only)
        replay = operations.replay(subscription, since=NOW - 2 * HOUR, only=only, by="alice")
        process_batch()
        replay.refresh_from_db()
        again = Delivery.objects.filter(requested_by=f"replay {replay.public_id} by alice")
        names = {event.pk: state for state, event in events.items()}
        assert {names[delivery.event_id] for delivery in again} == expected
        assert {(one.state, one.trigger, one.finished_at) for one in again} == {("pending", "automatic", None)}
        assert (replay.state, replay.done) == ("done", len(expected))
        assert (expected_count.count, expected_count.is_exact) == (len(expected), True)
        assert (replay.total, replay.total_is_exact) == (len(expected), True)
        assert Delivery.objects.get(event=events["sending"]).state == "sending"

    def test_by_time(self) -> None:
        times = [NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR]
        before, inside, after = (make_event_at(time) for time in times)
        subscription = make_subscription()
        operations.replay(subscription, since=NOW - 2.5 * HOUR, until=NOW - 1.5 * HOUR)
        process_batch()
        assert due() == [inside]
        operations.replay(subscription, since=NOW - 2.5 * HOUR)
        process_batch()
        assert due() == [inside, after]
        assert before not in due()

    def test_what_was_published_just_now(self, monkeypatch) -> None:
        event = make_event()
        now = public_ids.time_of(event.public_id)
        monkeypatch.setattr(timezone, "now", lambda: now)
        operations.replay(make_subscription(), since=now - HOUR)
        process_batch()
        assert due() == [event]

    @pytest.mark.parametrize(
        ("wanted", "asked", "topics"),
        [
            (["*"], [], {"order.created", "order.paid", "stock.low"}),
            (["*"], ["order.*"], {"order.created", "order.paid"}),
            (["order.*"], ["*"], {"order.created", "order.paid"}),
            (["order.paid", "stock.*"], [], {"order.paid", "stock.low"}),
            (["order.paid"], ["order.created"], set()),
            (["*"], ["order.paid", "order.created"], {"order.created", "order.paid"}),
        ],
    )
    def test_by_topic_and_what_the_subscription_wants_now(self, settings, wanted, asked, topics) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"stock.low": "Little is left."}}
        for topic in ("order.created", "order.paid", "stock.low"):
            make_event_at(NOW - HOUR, topic=topic)
        operations.replay(make_subscription(topics=wanted), since=NOW - 2 * HOUR, topics=asked)
        process_batch()
        assert {event.topic for event in due()} == topics

    @pytest.mark.parametrize(("store", "stores"), [("", {"", "north", "south"}), ("north", {"north"})])
    def test_by_store(self, store: str, stores: set[str]) -> None:
        for of in ("", "north", "south"):
            make_event_at(NOW - HOUR, store=of)
        operations.replay(make_subscription(store=store), since=NOW - 2 * HOUR)
        process_batch()
        assert {event.store for event in due()} == stores

    def test_also_from_before_it_subscribed_and_to_nobody_else(self) -> None:
        make_event_at(NOW - HOUR)
        new, _other = make_subscription(created_at=NOW), make_subscription()
        operations.replay(new, since=NOW - 2 * HOUR)
        process_batch()
        assert [one.subscription for one in Delivery.objects.all()] == [new]

    def test_not_the_tests_of_any_endpoint(self) -> None:
        make_event_at(NOW - HOUR, topic="webhook.test")
        operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        process_batch()
        assert due() == []

    def test_not_what_could_not_be_published_or_is_about_to_be_sent(self) -> None:
        make_event_at(NOW - HOUR, payload=None, published_at=None, routed_at=None, error="ValueError: no")
        make_event_at(NOW - HOUR, routed_at=None)
        operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        process_batch()
        assert due() == []


class TestBatches:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch) -> None:
        monkeypatch.setattr(replaying, "BATCH", 2)

    def test_each_moves_the_cursor_and_the_last_ends_it(self) -> None:
        events = [make_event_at(NOW - HOUR + timedelta(seconds=number)) for number in range(5)]
        replay = operations.replay(make_subscription(), since=NOW - HOUR)
        seen = []
        while replaying.process_batch(now=NOW):
            replay.refresh_from_db()
            seen.append((replay.done, replay.state, replay.finished_at))
        assert seen == [(2, "running", None), (4, "running", None), (5, "done", NOW)]
        assert due() == events

    def test_how_far_it_is_shows_by_time(self) -> None:
        for minutes in (60, 45, 30, 15):
            make_event_at(NOW - timedelta(minutes=minutes))
        replay = operations.replay(make_subscription(), since=NOW - HOUR, until=NOW)
        shares = [replay.share_done()]
        while replaying.process_batch(now=NOW):
            replay.refresh_from_db()
            shares.append(replay.share_done())
        assert shares == [0.0, pytest.approx(0.25, abs=0.001), pytest.approx(0.75, abs=0.001), 1.0]

    def test_a_batch_that_another_worker_did_is_not_done_twice(self) -> None:
        for _ in range(3):
            make_event_at(NOW - HOUR)
        late = operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        assert replaying.process_batch(now=NOW) == 1
        Delivery.objects.update(state="delivered", finished_at=NOW)
        assert not replaying._advance(late, now=NOW), "its cursor is the old one"
        assert due() == []

    def test_one_that_is_cancelled_while_a_worker_looks_at_it_sends_nothing(self) -> None:
        make_event_at(NOW - HOUR)
        late = operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        operations.cancel_replay(late)
        assert not replaying._advance(late, now=NOW)
        assert due() == []

    def test_a_batch_that_failed_halfway_is_done_again(self, monkeypatch) -> None:
        event = make_event_at(NOW - HOUR)
        replay = operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(replaying, "_make_due", lambda *_args, **_options: (_ for _ in ()).throw(RuntimeError))
            replaying.process_batch(now=NOW)
        replay.refresh_from_db()
        assert replay.state == "running"
        process_batch()
        assert due() == [event]

    def test_a_cancelled_one_stops_where_it_is(self) -> None:
        for _ in range(5):
            make_event_at(NOW - HOUR)
        replay = operations.replay(make_subscription(), since=NOW - 2 * HOUR)
        replaying.process_batch(now=NOW)
        assert operations.cancel_replay(replay)
        assert not operations.cancel_replay(replay)
        process_batch()
        replay.refresh_from_db()
        assert (replay.state, replay.done, len(due())) == ("cancelled", 2, 2)
        assert replay.finished_at is not None


class TestTheCount:
    def test_is_bounded(self, monkeypatch) -> None:
        for number in range(4):
            make_event_at(NOW - HOUR + timedelta(seconds=number))
        subscription = make_subscription()
        monkeypatch.setattr(replaying, "MOST_COUNTED", 3)
        assert operations.preview_replay(subscription, since=NOW - 2 * HOUR) == replaying.Estimate(3, is_exact=False)
        monkeypatch.setattr(replaying, "EVENTS_LOOKED_AT", 2)
        assert operations.preview_replay(subscription, since=NOW - 2 * HOUR) == replaying.Estimate(2, is_exact=False)

    def test_makes_nothing(self) -> None:
        make_event_at(NOW - HOUR)
        operations.preview_replay(make_subscription(), since=NOW - 2 * HOUR)
        assert not Replay.objects.exists()
        assert due() == []


@pytest.mark.parametrize(
    ("arguments", "problem", "says"),
    [
        ({"since": NOW + HOUR}, operations.ReplayError, "since"),
        ({"since": NOW, "until": NOW}, operations.ReplayError, "until"),
        ({"since": NOW - HOUR, "only": "some"}, operations.ReplayError, "all, failed, never_sent"),
        ({"since": NOW - HOUR, "topics": ["order.eaten"]}, UnknownTopicError, "order.eaten"),
    ],
)
def test_what_makes_no_sense_is_reported(arguments, problem, says) -> None:
    subscription = make_subscription()
    for call in (operations.replay, operations.preview_replay):
        with pytest.raises(problem, match=says):
            call(subscription, **arguments)
    assert not Replay.objects.exists()


def test_a_worker_is_woken(woken: list[bool]) -> None:
    operations.replay(make_subscription(), since=NOW - HOUR)
    assert woken


def test_a_pump_works_it_off(receiver: RecordingReceiver) -> None:
    events = [make_event_at(NOW - HOUR) for _ in range(3)]
    replay = operations.replay(make_subscription(url=receiver.url), since=NOW - 2 * HOUR, by="alice")
    tasks.pump()
    replay.refresh_from_db()
    assert (replay.state, replay.done) == ("done", 3)
    assert sorted(one.headers["webhook-id"] for one in receiver.received) == sorted(one.public_id for one in events)
    assert set(Delivery.objects.values_list("state", "requested_by")) == {("delivered", replay.label)}


def test_a_locked_subscription_holds_up_its_replay_alone(in_a_thread, receiver, monkeypatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL limits the wait for a lock; run with TEST_DATABASE=postgres")
    import threading

    from django.db import transaction

    from orderhooks.models import Subscription

    monkeypatch.setattr("orderhooks.pumping.LOCKED_SECONDS", 60.0)
    make_event_at(NOW - HOUR)
    replay = operations.replay(make_subscription(), since=NOW - 2 * HOUR)
    free = make_delivery(subscription=make_subscription(url=receiver.url))
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Subscription.objects.select_for_update().get(pk=replay.subscription_id)
            locked.set()
            release.wait(20)

    in_a_thread(hold)
    assert locked.wait(10)
    tasks.pump()
    release.set()
    free.refresh_from_db()
    replay.refresh_from_db()
    assert (free.state, replay.state) == ("delivered", "running")
    process_batch()
    assert due()


def test_finished_ones_are_pruned() -> None:
    old = NOW - timedelta(days=100)
    make_replay(since=old - HOUR, until=old, created_at=old, state="done", finished_at=old)
    kept = [make_replay(since=old - HOUR, until=old, created_at=old), make_replay(state="done", finished_at=NOW)]
    assert retention.prune(before=cutoffs_at(NOW - timedelta(days=90))) == 1
    assert set(Replay.objects.all()) == set(kept)
