"""Fixtures of all tests, and the guard: nothing but loopback is ever contacted."""

import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from orderhooks import conf, outbox, partitions, publishing, replaying, tasks
from orderhooks.backfilling import batches
from orderhooks.outbox import left_behind
from orderhooks.outbox.transaction_batch import TransactionBatch
from tests.receivers import RecordingReceiver

# No test goes by the time that it takes: a machine may have other work.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-services", action="store_true", help="fail, not skip, where a service is absent")
    parser.addoption("--screenshots", action="store_true", help="write what the README shows into docs/images")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones begin, so that processes that share the tests end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _refuse_the_outside(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        host = arguments[1][0]
    else:
        return
    if not _is_loopback(host):
        raise AssertionError(f"A test tried to contact {host}; only loopback is allowed.")


def _is_loopback(host: object) -> bool:
    try:
        return host in (None, "localhost", "") or ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


sys.addaudithook(_refuse_the_outside)


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Skip, or with --require-services fail, because a service is absent: `service(reason)`."""

    def absent(reason: str) -> None:
        if request.config.getoption("--require-services"):
            pytest.fail(reason)
        pytest.skip(reason)

    return absent


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """With TEST_DIVIDED=1 the tables that grow are divided, as docs/how-to/deploy.md shows it, on PostgreSQL."""
    if os.environ.get("TEST_DIVIDED"):
        with django_db_blocker.unblock():
            partitions.divide(now=timezone.now())
            partitions.divide_by_range(now=timezone.now())
            connections.close_all()


@pytest.fixture
def receiver() -> Iterator[RecordingReceiver]:
    """A real HTTP server on loopback that keeps what it gets."""
    with RecordingReceiver() as server:
        yield server


@pytest.fixture
def in_a_thread() -> Iterator[Callable[[Callable[[], None]], threading.Thread]]:
    """Run something beside the test, on a connection of its own; what it raises fails the test."""
    threads: list[threading.Thread] = []
    problems: list[BaseException] = []

    def start(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                problems.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert problems == []


@pytest.fixture(scope="session", autouse=True)
def _empty_queue() -> Iterator[None]:
    yield
    if os.environ.get("TEST_REDIS_URL"):
        import redis

        with redis.from_url(settings.Q_CLUSTER["redis"]) as connection:
            connection.delete(f"django_q:{settings.Q_CLUSTER['name']}:q")


@pytest.fixture(autouse=True)
def _whole_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a second does not end the turn of a test half-way."""
    monkeypatch.setattr("orderhooks.routing.batches.ROUTE_SECONDS", 60.0)
    monkeypatch.setattr(left_behind, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(batches, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(replaying, "READ_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def _worker_at_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TEST_IN_WORKER=1 a worker makes the events of each transaction right after its commit, but for tests of what
    the process that saves does.
    """
    if not os.environ.get("TEST_IN_WORKER"):
        return
    if request.node.get_closest_marker("by_hand"):
        changed = request.getfixturevalue("settings")
        changed.ORDERHOOKS = {**changed.ORDERHOOKS, "COALESCE_IN_WORKER": False}
        return
    after_commit = TransactionBatch.__call__

    def work_too(batch: TransactionBatch) -> None:
        after_commit(batch)
        if conf.current().coalesce_in_worker:
            publishing.announce_events(outbox.coalesce_left_behind(now=timezone.now()))

    monkeypatch.setattr(TransactionBatch, "__call__", work_too)


@pytest.fixture(autouse=True)
def _waker_at_rest() -> Iterator[None]:
    """With a broker behind a thread, a test ends only when its wake-ups are through."""
    yield
    tasks.let_the_waker_finish()
