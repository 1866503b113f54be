"""P7: whatever a receiver does, an attempt ends in time and in bounds, as an outcome of a known kind, safe to store."""

import time
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as project
from django.test import override_settings

from orderhooks import retries, transport
from orderhooks.models import Attempt
from orderhooks.transport import Outcome
from orderhooks.transport.outcomes import NEXT_STEPS
from orderhooks.transport.posting import KEPT_CHARACTERS
from orderhooks.transport.text import HARMFUL
from tests.factories import make_attempt, make_delivery
from tests.hostile_acts import BODY
from tests.hostile_behaviours import BEHAVIOURS, Behaviour
from tests.hostile_receiver import HostileReceiver

# One process posts, for all of them.
pytestmark = [pytest.mark.xdist_group("hostile"), pytest.mark.slow]

DEADLINE_SECONDS = 1.0
# Of behaviours that end by themselves: a busy machine takes its time.
LONG_DEADLINE_SECONDS = 10.0
# The promise: never longer than the deadline and half a second.
GRACE_SECONDS = 0.5
MOST_BYTES = 50 * 1024 * 1024
NOW = datetime(2026, 11, 24, tzinfo=UTC)
BY_NAME = {behaviour.name: behaviour for behaviour in BEHAVIOURS}


@dataclass(frozen=True)
class Run:
    outcomes: list[Outcome]
    seconds: float
    connects: int


def deadline_of(behaviour: Behaviour) -> float:
    return LONG_DEADLINE_SECONDS if behaviour.soon else DEADLINE_SECONDS


def post(url: str, timeout_seconds: float = DEADLINE_SECONDS) -> Outcome:
    return transport.post(url, BODY, {"webhook-id": "evt_1"}, timeout_seconds=timeout_seconds)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileReceiver]:
    with (
        HostileReceiver(tmp_path_factory.mktemp("certificates")) as receiver,
        override_settings(ORDERHOOKS={**project.ORDERHOOKS, "CA_BUNDLE": receiver.bundle}),
    ):
        yield receiver


@pytest.fixture(scope="module")
def runs(receiver: HostileReceiver) -> Mapping[str, Run]:
    """Each behaviour, posted to. Those that take their whole time run side by side, the others one by one."""

    def run(behaviour: Behaviour) -> Run:
        outcomes, longest, connects = [], 0.0, receiver.connects(behaviour.name)
        for _ in range(behaviour.posts):
            started = time.monotonic()
            outcomes.append(post(receiver.urls[behaviour.name], deadline_of(behaviour)))
            longest = max(longest, time.monotonic() - started)
        return Run(outcomes, longest, receiver.connects(behaviour.name) - connects)

    slow = [behaviour for behaviour in BEHAVIOURS if not behaviour.soon]
    with ThreadPoolExecutor(len(slow)) as pool:
        found = dict(zip((one.name for one in slow), pool.map(run, slow), strict=True))
    return found | {behaviour.name: run(behaviour) for behaviour in BEHAVIOURS if behaviour.soon}


def texts_of(outcome: Outcome) -> Iterator[str]:
    yield outcome.detail
    yield outcome.response_body
    for name, value in outcome.response_headers.items():
        yield name
        yield value


def test_there_are_behaviours_enough_and_each_is_named_once() -> None:
    assert len(BY_NAME) == len(BEHAVIOURS) >= 60


@pytest.mark.parametrize("name", BY_NAME)
def test_a_hostile_receiver_makes_a_known_outcome_in_time(name: str, runs: Mapping[str, Run]) -> None:
    behaviour, run = BY_NAME[name], runs[name]
    for outcome in run.outcomes:
        assert outcome.error in behaviour.kinds, outcome
        assert outcome.status_code == behaviour.status, outcome
        assert outcome.error == "" or outcome.detail.endswith(NEXT_STEPS[outcome.error]) or outcome.error == "status"
        assert outcome.detail
        # People see it who may not see what the request and the response hold.
        assert "ECHOED" not in outcome.detail
        assert len(outcome.response_body) <= KEPT_CHARACTERS
        assert len(outcome.response_headers) <= 64
        assert not [text for text in texts_of(outcome) if HARMFUL.search(text)]
        assert outcome.duration_ms <= (deadline_of(behaviour) + GRACE_SECONDS) * 1000
    assert run.seconds <= deadline_of(behaviour) + GRACE_SECONDS
    if behaviour.soon:
        assert run.seconds < deadline_of(behaviour), "it was held to the deadline"
    assert run.connects <= behaviour.connects
    assert "smuggled" not in str(run.outcomes)


@pytest.mark.parametrize("name", [name for name in BY_NAME if "flood" in name or "bomb" in name or "endless" in name])
def test_what_has_no_end_is_read_within_bounds(name: str, receiver: HostileReceiver) -> None:
    tracemalloc.start()
    try:
        post(receiver.urls[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES / 10


@pytest.mark.django_db
def test_every_outcome_can_be_stored_as_it_is(runs: Mapping[str, Run]) -> None:
    delivery = make_delivery()
    names = {field.name for field in fields(Outcome)} & {field.name for field in Attempt._meta.get_fields()}
    for run in runs.values():
        for outcome in run.outcomes:
            kept: dict[str, Any] = {name: getattr(outcome, name) for name in names}
            attempt = make_attempt(delivery, **kept)
            attempt.refresh_from_db()
            assert {name: getattr(attempt, name) for name in names} == kept


def test_every_retry_after_is_a_wait_of_a_day_at_most(runs: Mapping[str, Run]) -> None:
    asked = {run.outcomes[0].retry_after: run for name, run in runs.items() if "asks to come back" in name}
    assert len(asked) > 10
    for value in asked:
        due = retries.next_attempt_at(1, schedule=[5.0], now=NOW, jitter=0.5, retry_after=value)
        assert due is not None
        assert NOW + timedelta(seconds=5) <= due <= NOW + timedelta(hours=24)
    assert retries.next_attempt_at(1, schedule=[5.0], now=NOW, jitter=0.5, retry_after="7") == NOW + timedelta(
        seconds=7
    )


def test_the_whole_table(runs: Mapping[str, Run]) -> None:
    late = [name for name, run in runs.items() if run.seconds > deadline_of(BY_NAME[name]) + GRACE_SECONDS]
    wrong = [name for name, run in runs.items() if any(one.error not in BY_NAME[name].kinds for one in run.outcomes)]
    longest = max(run.seconds for run in runs.values())
    print(f"behaviours {len(runs)}, wrong {len(wrong)}, overruns {len(late)}, longest {longest:.2f} s")
    assert (wrong, late) == ([], [])


def test_a_bomb_is_kept_packed(runs: Mapping[str, Run]) -> None:
    [outcome] = runs["sends a gzip bomb"].outcomes
    assert set(outcome.response_body) - {"\ufffd"}, "fifty million NULs, made safe, would be nothing else"
