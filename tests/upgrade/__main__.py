"""Upgrade without a pause: `make upgrade-check`, which CI runs, or `python -m tests.upgrade [COMMIT]`.

The database has the schema of this checkout. Store and worker run side by side with the code of a former commit and
with that of this checkout, save orders and deliver them to a receiver on loopback. Nothing may be lost, nothing may be
sent twice without cause, and no log may have an error. It ends with one line: `ok:` or `failed:`.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Answer, Entry, Ledger
from tests.chaos.sites import Cluster, wait_until
from tests.servers import HOST, answers
from tests.upgrade import versions

POSTGRES_PORT = 5432
CALL_SECONDS = 60.0
WAIT_SECONDS = 20.0
# As they stand in the logs of orderhooks, of Django and of django-q2.
ERRORS = ("ERROR", "CRITICAL", "Traceback")
MOST_SHOWN = 20


class Version:
    """The processes of one version: all share the folder of logs and the database."""

    def __init__(self, name: str, code: Path, folder: Path, database: dict[str, Any]) -> None:
        self.name = name
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TEST_", "COV_", "PYTEST"))}
        self.environment = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "tests.upgrade.settings",
            "UPGRADE_DATABASE": json.dumps(database),
            # `tests` is this checkout's for both; `orderhooks` is the first that is found, also in `python -m`.
            "PYTHONPATH": os.pathsep.join([str(code), str(versions.ROOT)]),
            "PYTHONSAFEPATH": "1",
        }

    def begin(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        with (self.folder / f"{self.name}-store.log").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.upgrade.child", command, *arguments],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def call(self, command: str, *arguments: str) -> Any:
        """Run it to its end; what it returned."""
        return self.end(self.begin(command, *arguments))

    def end(self, process: "subprocess.Popen[str]") -> Any:
        output, _ = process.communicate(timeout=CALL_SECONDS)
        if process.returncode:
            log = (self.folder / f"{self.name}-store.log").read_text()
            raise AssertionError(f"the {self.name} code failed: {log[-1500:]}")
        return json.loads(output.splitlines()[-1])

    @contextlib.contextmanager
    def cluster(self, number: int = 1) -> Iterator[Cluster]:
        cluster = Cluster(self.environment, self.folder / f"{self.name}-worker-{number}.log")
        try:
            cluster.wait_until_it_runs()
            yield cluster
        finally:
            cluster.kill()

    @contextlib.contextmanager
    def trade(self, saved: set[str]) -> Iterator[None]:
        """Save orders beside what the block does, and add their ids to `saved`."""
        process = self.begin("trade")
        try:
            assert process.stdout
            assert process.stdout.readline(), f"the {self.name} store did not start"
            yield
            saved.update(self.end(process))
        finally:
            process.kill()


@contextlib.contextmanager
def temporary_database(folder: Path) -> Iterator[dict[str, Any]]:
    """One of this check's own: on PostgreSQL where it answers, otherwise SQLite."""
    try:
        import psycopg
    except ImportError:
        psycopg = None  # type: ignore[assignment]
    if psycopg is None or not answers(POSTGRES_PORT):
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"}
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "shop.sqlite3"), "OPTIONS": options}
        return
    name = f"orderhooks_upgrade_{os.getpid()}"
    server = {"host": HOST, "port": POSTGRES_PORT, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**server, autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": HOST,
            "PORT": POSTGRES_PORT,
            "USER": "postgres",
            "NAME": name,
            "CONN_MAX_AGE": 60,
        }
    finally:
        with psycopg.connect(**server, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def compare_columns(former_code: Path, folder: Path) -> None:
    """Raises AssertionError, naming the columns that the former code can't write, or needs and doesn't find."""
    memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    former, new = Version("former", former_code, folder, memory), Version("new", versions.ROOT, folder, memory)
    begun = [(version, version.begin("columns")) for version in (former, new)]
    problems = versions.misfits(*[version.end(process) for version, process in begun])
    assert not problems, "; ".join(problems)


def upgrade(former: Version, new: Version, ledger: Ledger) -> str:
    """The upgrade itself; what it did, in words. Raises AssertionError with what went wrong."""
    new.call("migrate")
    subscribing = former.begin("subscribe", ledger.door.url("/former"))
    new.call("subscribe", ledger.door.url("/new"), "ordered")
    former.end(subscribing)
    saved: set[str] = set()
    held: list[Entry] = []
    senders: set[str] = set()

    def hang(_entry: Entry, _number: int) -> Answer:
        return Answer(hangs=True, first=held.append)

    def see_sender(_entry: Entry, _number: int) -> Answer:
        return Answer(first=lambda entry: senders.update(_sender(entry, former=older, new=newer)))

    with contextlib.ExitStack() as clusters:
        with former.trade(saved), new.trade(saved):
            # The former worker alone, killed with requests under way: its leases are left behind.
            with former.cluster():
                wait_until(lambda: len(ledger.entries) > 20, WAIT_SECONDS, "requests of the former worker")
                ledger.answers.update({"/former": hang, "/new": hang})
                wait_until(lambda: len(held) > 1, WAIT_SECONDS, "requests that wait for a response")
            ledger.answers.clear()
            # Both workers side by side; then the former is stopped as a service manager stops it.
            newer = clusters.enter_context(new.cluster())
            older = clusters.enter_context(former.cluster(2))
            ledger.answers.update({"/former": see_sender, "/new": see_sender})
            end = time.monotonic() + WAIT_SECONDS
            while senders < {"former", "new"}:
                assert time.monotonic() < end, f"of the two workers side by side only these sent anything: {senders}"
                new.call("wake")
            ledger.answers.clear()
            older.stop()
            assert older.leader.returncode == 0, f"the former worker ended with status {older.leader.returncode}"
            so_far = len(ledger.entries)
            wait_until(lambda: len(ledger.entries) > so_far + 20, WAIT_SECONDS, "requests of the new worker alone")
        waiting = new.call("settle")
        assert not waiting, f"{waiting} deliveries still wait"
        report = new.call("report")
        newer.stop()
    problems = reckon(saved, report, ledger.entries) + logged_errors(new.folder)
    assert not problems, "\n".join([f"{len(problems)} problems", *problems[:MOST_SHOWN]])
    delivered = len(report["deliveries"])
    return f"{len(saved)} orders saved by both, {delivered} deliveries, {len(held)} taken over from the killed worker"


def reckon(saved: set[str], report: dict[str, list[Any]], entries: Sequence[Entry]) -> list[str]:
    """What was lost, and what came twice without a lost response as its cause."""
    came: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.succeeded:
            came.setdefault((entry.event, entry.path), []).append(entry)
    unanswered = {(event, number) for event, number in report["unanswered"]}
    problems, told = [], set()
    for event, topic, order, url, state in report["deliveries"]:
        path = url[url.rindex("/") :]
        arrived = came.get((event, path), [])
        if state != "delivered" or not arrived:
            problems.append(f"{topic} {event} of {order} is {state} and arrived {len(arrived)} times at {path}")
        if any((event, entry.attempt) not in unanswered for entry in arrived[:-1]):
            problems.append(f"{topic} {event} of {order} arrived {len(arrived)} times at {path}")
        told.add((order, topic, path))
    problems += [
        f"no order.created of {order} for {path}"
        for order in saved
        for path in ("/former", "/new")
        if (order, "order.created", path) not in told
    ]
    return problems


def logged_errors(folder: Path) -> list[str]:
    return [
        f"{log.name}: {line}"
        for log in sorted(folder.glob("*.log"))
        for line in log.read_text().splitlines()
        if any(word in line for word in ERRORS)
    ]


def _sender(entry: Entry, **clusters: Cluster) -> set[str]:
    return {name for name, cluster in clusters.items() if cluster.holder(entry.port) is not None}


def main(chosen: str = "") -> int:
    began = time.monotonic()
    found = versions.former_version(chosen)
    if found is None:
        if chosen:
            print(f"failed: there is no commit {chosen} here")
            return 1
        print("ok: not tried, because there is no former commit here (a shallow clone, or no repository)")
        return 0
    name = f"upgrade from {found.commit[:10]} ({found.reason})"
    if reason := versions.given_up(found):
        print(f"ok: not tried: {name} needs a pause: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="orderhooks-upgrade-") as temporary:
        folder, code = Path(temporary), Path(temporary) / "former"
        try:
            versions.unpack(found, code)
            compare_columns(code, folder)
            with temporary_database(folder) as database, Ledger() as ledger:
                vendor = database["ENGINE"].rpartition(".")[2]
                former = Version("former", code, folder, database)
                did = upgrade(former, Version("new", versions.ROOT, folder, database), ledger)
        except AssertionError as error:
            print(*logged_errors(folder)[:MOST_SHOWN], sep="\n")
            for log in sorted(folder.glob("*.log")):
                print(f"--- the end of {log.name}", *log.read_text().splitlines()[-MOST_SHOWN:], sep="\n")
            print(f"failed: {name}: {error}")
            return 1
    print(f"ok: {name} on {vendor}: {did}, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
