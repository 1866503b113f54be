"""`kill -9` at the worst times, on real processes: everything committed arrives."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.slow


class Machine:
    """A database of its own, and processes that work on it and may be killed."""

    module = "tests.crash_child"

    def __init__(self, database: str) -> None:
        # Its processes make their events themselves.
        own = {"TEST_DATABASE_NAME": database, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_IN_WORKER": ""}
        self.environment = {**os.environ, **own}
        # Started from the repository's root, where `tests` is.
        self.folder = Path(__file__).parent.parent

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", self.module, *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, killed: bool = False) -> str:
        process = self.start(*command)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if killed else 0), errors
        return output.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        yield Machine(str(tmp_path / "crash.sqlite3"))
        return
    name = f"orderhooks_crash_{os.getpid()}"
    is_postgresql = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
    _on_the_server(f"CREATE DATABASE {name}")
    try:
        yield Machine(name)
    finally:
        _on_the_server(f"DROP DATABASE {name}{' WITH (FORCE)' if is_postgresql else ''}")


def _on_the_server(statement: str) -> None:
    """In no transaction, and without the test's own database."""
    options = settings.DATABASES["default"]
    with contextlib.ExitStack() as stack:
        if options["ENGINE"].endswith("postgresql"):
            import psycopg

            address = {"host": options["HOST"], "user": options["USER"], "dbname": "postgres", "autocommit": True}
            connection = stack.enter_context(psycopg.connect(**address))
        else:
            import pymysql

            connection = stack.enter_context(pymysql.connect(host=options["HOST"], user=options["USER"]))
        stack.enter_context(connection.cursor()).execute(statement)


@pytest.mark.parametrize(
    "moment",
    [
        "save_and_die_before_coalescing",
        "save_and_die_before_the_wake",
        "track_and_die_before_coalescing",
        pytest.param(
            "insert_by_sql_with_triggers_and_die",
            marks=pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's"),
        ),
    ],
)
def test_an_order_whose_process_was_killed_after_the_commit_arrives(machine, receiver, moment: str) -> None:
    machine.run("prepare", receiver.url)
    machine.run(moment, killed=True)
    machine.run("pass_time")
    machine.run("pump")
    assert receiver.topics == ["order.created"]
    assert machine.run("report") == "delivered:1"


def test_a_delivery_whose_worker_was_killed_in_the_middle_of_it_arrives(
    machine: Machine, receiver: RecordingReceiver
) -> None:
    workers: list[subprocess.Popen[str]] = []

    def answer(count: int) -> Answer:
        if count == 1:
            workers[0].kill()
            workers[0].communicate(timeout=10)
        return Answer()

    receiver.answer = answer
    machine.run("prepare", receiver.url)
    machine.run("save")
    workers.append(machine.start("pump"))
    receiver.wait_for(1)
    workers[0].wait(timeout=20)
    assert machine.run("report") == "sending:1", "the attempt is counted, its result unknown"
    machine.run("pass_time")
    machine.run("pump")  # records the lost attempt
    machine.run("pass_time")
    machine.run("pump")
    assert machine.run("report") == "delivered:2"
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("where", ["while_an_order_is_read", "before_the_commit", "after_the_commit"])
def test_a_backfill_whose_worker_was_killed_sends_each_order_once(machine, receiver, where: str) -> None:
    machine.run("prepare_backfill", receiver.url)
    machine.run(f"backfill_and_die_{where}", killed=True)
    machine.run("pass_time")
    machine.run("pump")
    numbers = [json.loads(one.body)["data"]["order"]["number"] for one in receiver.received]
    assert sorted(numbers) == ["1", "2", "3", "4", "5"]
    assert machine.run("report") == " ".join(["delivered:1"] * 5)


def test_a_command_that_saves_and_ends_at_once_has_woken_a_worker(machine: Machine, receiver) -> None:
    machine.run("prepare", receiver.url)
    machine.run("save")
    assert machine.run("queued") == "1"
