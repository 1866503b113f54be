"""A real django-q2 cluster on a Redis of its own: the broker may go, and what was saved meanwhile still arrives."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.receivers import RecordingReceiver
from tests.servers import RedisServer
from tests.test_crashes import Machine, machine  # noqa: F401 - the fixture

pytestmark = pytest.mark.slow

# The promise is 90 s from the broker's return.
ARRIVES_WITHIN_SECONDS = 90


@pytest.fixture
def redis_server(tmp_path: Path, service) -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        service("redis-server is not installed")
    pytest.importorskip("redis")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cluster(machine: Machine, redis_server: RedisServer, receiver, tmp_path: Path) -> Iterator[Path]:  # noqa: F811
    """A running cluster; its log."""
    machine.environment["TEST_REDIS_URL"] = redis_server.url
    machine.run("prepare", receiver.url)
    log = tmp_path / "cluster.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"],
            cwd=machine.folder,
            env=machine.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        yield log
        # The leader alone: a signal to the whole group would hang the cluster.
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_an_order_saved_while_the_broker_is_gone_arrives_after_its_return(
    cluster: Path,
    machine: Machine,  # noqa: F811
    redis_server: RedisServer,
    receiver: RecordingReceiver,
) -> None:
    machine.run("save")
    receiver.wait_for(1, seconds=30)
    redis_server.stop()
    machine.run("save")
    redis_server.start()
    receiver.wait_for(2, seconds=ARRIVES_WITHIN_SECONDS)
    assert receiver.received[0].headers["webhook-id"] != receiver.received[1].headers["webhook-id"]
