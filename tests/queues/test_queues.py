"""The same promises with each queue: what is committed arrives, whoever dies, and a worker that stops ends in order."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.receivers import Answer, RecordingReceiver
from tests.relay import Relay
from tests.servers import RedisServer, answers
from tests.test_crashes import Machine, machine  # noqa: F401 - the fixture

pytestmark = pytest.mark.slow

RABBITMQ = 5672
URLS = {"redis": "redis://127.0.0.1:{port}/0", "rabbitmq": "amqp://guest:guest@127.0.0.1:{port}//"}
ARRIVES_SECONDS = 60
CELERY = [sys.executable, "-m", "celery", "-A", "tests.queues.celery_app"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "info"]
WORKERS = {
    "celery": [*CELERY, "worker", *QUIET, "--concurrency", "2"],
    "django_tasks": [sys.executable, "-m", "django", "db_worker", "--interval", "0.2", "--no-reload"],
    "none": [sys.executable, "-m", "django", "orderhooks_work"],
}


@dataclass
class Shop(Machine):
    """The shop's processes with one queue."""

    machine: Machine
    queue: str
    log: Path
    worker: Callable[[], list[str]] = list
    relay: Relay | None = None
    module: str = "tests.queues.shop"

    def __post_init__(self) -> None:
        self.folder = self.machine.folder
        self.environment = {
            **self.machine.environment,
            "DJANGO_SETTINGS_MODULE": "tests.queues.settings",
            "TEST_QUEUE": self.queue,
            "TEST_CELERY_QUEUE": f"orderhooks-tests-{uuid.uuid4().hex[:12]}",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_worker(self, *command: str) -> "subprocess.Popen[bytes]":
        with self.log.open("a") as output:
            process = subprocess.Popen(
                command or self.worker(),
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_beat(self) -> None:
        self.environment["TEST_SWEEP_EACH_SECOND"] = "1"
        self.start_worker(*CELERY, "beat", "--schedule", str(self.log.with_name("beat")))

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """The worker with its children, as when a machine loses its power."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)


@dataclass(frozen=True)
class Kind:
    """A queue, its broker, and how its workers run tasks side by side."""

    queue: str
    broker: str = ""
    pool: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.queue, self.broker, self.pool) if part)

    def worker_command(self) -> list[str]:
        # RabbitMQ lets two workers of one name not stand side by side, nor one soon after another that was killed.
        name = f"shop-{uuid.uuid4().hex[:12]}@%h"
        return [*WORKERS[self.queue], *(["--pool", self.pool, "--hostname", name] if self.pool else [])]


KINDS = [
    Kind("celery", "redis", "prefork"),
    Kind("celery", "redis", "threads"),
    Kind("celery", "rabbitmq", "prefork"),
    Kind("celery", "rabbitmq", "threads"),
    Kind("django_tasks"),
    Kind("none"),
]
WITH_A_BROKER = [kind for kind in KINDS if kind.pool == "prefork"]


@pytest.fixture
def shop(request, machine: Machine, receiver: RecordingReceiver, service, tmp_path: Path) -> Iterator[Shop]:  # noqa: F811
    """A migrated shop with a subscription, and no worker yet."""
    kind: Kind = request.param
    with contextlib.ExitStack() as stack:
        shop = Shop(machine, kind.queue, tmp_path / "worker.log", kind.worker_command)
        if kind.broker:
            shop.relay = stack.enter_context(_relay(kind.broker, tmp_path, service))
            shop.environment["TEST_BROKER_URL"] = URLS[kind.broker].format(port=shop.relay.port)
        shop.run("prepare", receiver.url)
        stack.callback(shop.end)
        yield shop
        shop.end()
        if kind.broker == "rabbitmq":
            shop.run("forget_the_queue")


@contextlib.contextmanager
def _relay(broker: str, folder: Path, service: Any) -> Iterator[Relay]:
    """The broker as the shop reaches it: the connection may be cut."""
    if broker == "rabbitmq":
        if not answers(RABBITMQ):
            service("RabbitMQ does not answer on 127.0.0.1:5672")
        with Relay(RABBITMQ) as relay:
            yield relay
        return
    if not shutil.which("redis-server"):
        service("redis-server is not installed")
    server = RedisServer(folder)
    server.start()
    try:
        with Relay(server.port) as relay:
            yield relay
    finally:
        server.stop()


def each(kinds: list[Kind]) -> Any:
    return pytest.mark.parametrize("shop", kinds, ids=str, indirect=True)


@each(KINDS)
def test_an_order_arrives_and_a_worker_that_is_stopped_ends_in_order(shop: Shop, receiver: RecordingReceiver) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(count: int) -> Answer:
        if count == 2:
            entered.set()
            release.wait(30)
        return Answer()

    receiver.answer = slow
    worker = shop.start_worker()
    shop.run("save")
    receiver.wait_for(1, seconds=ARRIVES_SECONDS)
    shop.run("save")
    assert entered.wait(ARRIVES_SECONDS), shop.log.read_text()
    worker.terminate()
    release.set()
    assert worker.wait(ARRIVES_SECONDS) == 0, shop.log.read_text()
    assert shop.run("report") == "delivered:1 delivered:1"
    assert len(receiver.received) == 2


@each([kind for kind in KINDS if kind.pool != "threads"])
def test_what_a_killed_worker_was_sending_arrives(shop: Shop, receiver: RecordingReceiver) -> None:
    entered = threading.Event()

    def answer(count: int) -> Answer:
        if count == 1:
            entered.set()
            workers[0].wait(30)
        return Answer()

    receiver.answer = answer
    workers = [shop.start_worker()]
    shop.run("save")
    assert entered.wait(ARRIVES_SECONDS), shop.log.read_text()
    shop.kill(workers[0])
    shop.run("pass_time")
    shop.start_worker()
    if shop.queue != "none":  # whose worker sweeps by itself
        shop.run("sweep")
    receiver.wait_for(2, seconds=ARRIVES_SECONDS)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["webhook-attempt"] == "2"


@each(WITH_A_BROKER)
def test_an_order_saved_while_the_broker_is_gone_arrives_by_the_sweep(shop: Shop, receiver: RecordingReceiver) -> None:
    assert shop.relay
    shop.start_worker()
    shop.run("save")
    receiver.wait_for(1, seconds=ARRIVES_SECONDS)
    shop.relay.cut()
    shop.run("save")
    assert "refused" in shop.run("problems")
    shop.relay.restore()
    assert shop.run("problems") == ""
    shop.start_beat()
    receiver.wait_for(2, seconds=ARRIVES_SECONDS)


@each(WITH_A_BROKER[:1])
def test_a_lost_wake_up_is_made_good_by_beat(shop: Shop, receiver: RecordingReceiver) -> None:
    shop.start_worker()
    shop.start_beat()
    shop.run("save_without_waking")
    receiver.wait_for(1, seconds=ARRIVES_SECONDS)


@each([Kind("django_tasks"), Kind("none")])
def test_without_a_scheduler_the_sweep_comes_by_a_command_or_by_itself(shop: Shop, receiver: RecordingReceiver) -> None:
    shop.start_worker()
    shop.run("save_without_waking")
    if shop.queue == "django_tasks":
        assert receiver.received == []
        shop.run("sweep")
    receiver.wait_for(1, seconds=ARRIVES_SECONDS)


@each([Kind("none")])
def test_one_turn_delivers_what_is_due_and_ends(shop: Shop, receiver: RecordingReceiver) -> None:
    shop.run("save")
    assert shop.start_worker(*WORKERS["none"], "--once").wait(ARRIVES_SECONDS) == 0
    assert receiver.topics == ["order.created"]
    assert "Nothing more is due." in shop.log.read_text()


@each([Kind("django_tasks")])
def test_wake_ups_do_not_pile_up_in_the_database(shop: Shop) -> None:
    shop.run("save")
    shop.run("save")
    shop.run("sweep")
    assert shop.run("waiting_tasks") == "orderhooks.tasks.django_tasks.pump"
    assert shop.run("worker_command") == "manage.py db_worker"


@each([Kind("django_tasks")])
def test_a_backend_that_runs_nothing_is_reported(shop: Shop) -> None:
    shop.environment["TEST_BACKEND"] = "dummy"
    assert "which runs no task" in shop.run("faults")
    assert shop.run("worker_command") == "<the worker of your backend TASKS['orderhooks']>"
    shop.environment["TEST_BACKEND"] = "own"
    assert shop.run("faults") == ""
    assert shop.run("worker_command") == "manage.py db_worker --backend orderhooks"
