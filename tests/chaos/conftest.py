"""Fixtures of the fault suite: the ledger, databases on real servers, sites; the table that ends it.

`make chaos SEED=1`: the seed, printed first, decides counts, moments and who is hit; each row throws its own dice.
"""

import contextlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ledger import Entry, Ledger
from tests.chaos.reckoning import Account, reckon
from tests.chaos.sites import Site
from tests.relay import Relay
from tests.servers import HOST, RABBITMQ_PORT, PostgresServer, RabbitQueue, RedisServer, answers, postgres_programs

POSTGRES_PORT, MARIADB_PORT = 5432, 3306
POSTGRES = {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "USER": "postgres", "CONN_MAX_AGE": 60}
MARIADB = {"ENGINE": "django.db.backends.mysql", "HOST": HOST, "PORT": MARIADB_PORT, "USER": "root", "CONN_MAX_AGE": 60}
SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "CONN_MAX_AGE": 60,
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
}
NO_POSTGRES = "PostgreSQL's server programs (initdb, postgres) are not installed"
_numbers = count(1)


def pytest_report_header(config: pytest.Config) -> str:
    return f"chaos: make chaos SEED={config.getoption('randomly_seed')}"


class Chaos:
    """What a row works with: `site` makes a site, `ledger` is its receiver, `random` its dice."""

    def __init__(self, row: str, folder: Path, seed: object, ledger: Ledger, absent: Callable[[str], None]) -> None:
        self.random = random.Random(f"{seed}:{row}")
        self.ledger = ledger
        self.account: Account | None = None
        self.folder = folder
        self._absent = absent
        self._ends = contextlib.ExitStack()

    def site(
        self, vendor: str = "postgres", *, own: PostgresServer | Relay | None = None, patience: int = 20, **more: Any
    ) -> Site:
        """A migrated database of the row's own and a store on it. `own`: on a server that is removed later;
        `patience`: how many seconds SQLite waits for its lock.
        """
        folder = self.folder / str(next(_numbers))
        folder.mkdir()
        match vendor:
            case "postgres":
                database = self._postgres(folder, own)
            case "mariadb":
                database = self._mariadb(folder)
            case _:
                options = {**SQLITE["OPTIONS"], "timeout": patience}
                database = {**SQLITE, "NAME": str(folder / "shop.sqlite3"), "OPTIONS": options}
        site = Site(folder, database, self.ledger.door, self.random, **more)
        self._ends.callback(site.close)
        site.shop.call("migrate")
        return site

    def redis(self) -> RedisServer:
        """A broker of the row's own, running."""
        if not shutil.which("redis-server"):
            self._absent("redis-server is not installed")
        server = RedisServer(self.folder)
        server.start()
        self._ends.callback(server.stop)
        return server

    def postgres(self, primary: PostgresServer | None = None, **settings: object) -> PostgresServer:
        """A PostgreSQL of the row's own, running, or a standby of one."""
        programs = postgres_programs()
        if programs is None:
            self._absent(NO_POSTGRES)
        assert programs
        server = PostgresServer(programs, connections=60, primary=primary, **settings)
        self._ends.callback(server.remove)
        server.start()
        return server

    def relay(self, server: PostgresServer) -> Relay:
        """Before a server, so that another may take its place."""
        return self._ends.enter_context(Relay(server.port))

    def rabbitmq(self) -> RabbitQueue:
        """A queue of the row's own in the machine's RabbitMQ."""
        if not answers(RABBITMQ_PORT):
            self._absent(f"no RabbitMQ responds on {HOST}:{RABBITMQ_PORT}")
        queue = RabbitQueue(f"chaos-{os.getpid()}-{next(_numbers)}")
        self._ends.callback(queue.delete)
        return queue

    def reckon(self, site: Site, *, entries: Sequence[Entry] | None = None, **how: Any) -> Account:
        """The ledger (or these entries of it) against the site's database; the last reckoning goes into the table."""
        self.account = reckon(site, list(self.ledger.entries) if entries is None else entries, **how)
        return self.account

    def address(self, site: Site) -> dict[str, Any]:
        """How to connect to the server of the site's database, as superuser, from outside of it."""
        return {"host": HOST, "port": site.database["PORT"], "user": "postgres", "dbname": "postgres"}

    def execute(self, site: Site, statement: str) -> None:
        """On PostgreSQL."""
        import psycopg

        with psycopg.connect(**self.address(site), autocommit=True) as connection:
            connection.execute(statement)

    def close(self) -> None:
        self._ends.close()

    def _postgres(self, folder: Path, own: PostgresServer | Relay | None) -> dict[str, Any]:
        import psycopg

        port = own.port if own else POSTGRES_PORT
        if not answers(port):
            self._absent(f"no PostgreSQL responds on {HOST}:{port}")
        database = {**POSTGRES, "PORT": port, "NAME": f"chaos_{os.getpid()}_{folder.name}"}

        def execute(statement: str) -> None:
            with psycopg.connect(
                host=HOST, port=port, user="postgres", dbname="postgres", autocommit=True
            ) as connection:
                connection.execute(statement)

        execute(f"CREATE DATABASE {database['NAME']}")
        if own is None:
            self._ends.callback(execute, f"DROP DATABASE {database['NAME']} WITH (FORCE)")
        return database

    def _mariadb(self, folder: Path) -> dict[str, Any]:
        if not answers(MARIADB_PORT):
            self._absent(f"no MariaDB responds on {HOST}:{MARIADB_PORT}")
        import pymysql

        name = f"chaos_{os.getpid()}_{folder.name}"

        def execute(statement: str) -> None:
            with pymysql.connect(host=HOST, port=MARIADB_PORT, user="root") as connection:
                connection.cursor().execute(statement)

        execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self._ends.callback(execute, f"DROP DATABASE {name}")
        return {**MARIADB, "NAME": name}


@pytest.fixture
def chaos(
    request: pytest.FixtureRequest, tmp_path: Path, service: Callable[[str], None], record_property: Any
) -> Iterator[Chaos]:
    began = time.monotonic()
    with Ledger() as ledger:
        seed = request.config.getoption("randomly_seed")
        chaos = Chaos(request.node.name, tmp_path, seed, ledger, service)
        try:
            yield chaos
        finally:
            chaos.close()
    if chaos.account:
        account = {**vars(chaos.account), "duplicates": dict(chaos.account.duplicates)}
        record_property("account", {**account, "seconds": time.monotonic() - began})


@pytest.fixture(scope="session")
def own_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped, with few connections."""
    programs = postgres_programs()
    if programs is None:
        (pytest.fail if request.config.getoption("--require-services") else pytest.skip)(NO_POSTGRES)
    server = PostgresServer(programs, connections=25)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            account = dict(getattr(report, "user_properties", ())).get("account")
            if account and report.when == "teardown":
                name = report.nodeid.rpartition("::test_")[2]
                causes = ", ".join(f"{number} {cause}" for cause, number in account["duplicates"].items()) or "0"
                figures = "".join(f"{account[column]:>10}" for column in ("committed", "sent", "received", "lost"))
                lines.append(f"{name[:76]:<76}{figures}{account['seconds']:>8.1f} s  {causes}")
    if lines:
        terminalreporter.section("the ledger")
        heads = "".join(f"{head:>10}" for head in ("committed", "sent", "received", "lost", "took"))
        terminalreporter.write_line(f"{'row':<76}{heads}  duplicates")
        for line in sorted(lines):
            terminalreporter.write_line(line)
