"""Servers of a test's own, on a free port and in a temporary folder: they may be stopped, emptied and restarted."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 30.0


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


class RedisServer:
    """A broker that keeps nothing on disk: stopped, it has forgotten all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--bind", HOST, "--port", str(self.port), "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        for line in self.process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError("redis-server ended before it was ready")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


RABBITMQ_PORT = 5672


@dataclass(frozen=True)
class RabbitQueue:
    """A queue of a test's own in the machine's RabbitMQ, which others use too."""

    name: str
    port: int = RABBITMQ_PORT

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def delete(self) -> None:
        """With the exchange of its name, which Celery makes."""
        from kombu.connection import Connection

        with Connection(self.url) as connection:
            connection.default_channel.queue_delete(self.name)
            connection.default_channel.exchange_delete(self.name)


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's server programs, or None where they are not installed."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists() and (folder / "initdb").exists()), None)


class PostgresServer:
    """A PostgreSQL in a folder of its own, or a standby of another, its `primary`. `settings` are those of PostgreSQL.

    Its programs refuse to be root, so root starts it as the user `postgres`.
    """

    def __init__(
        self, programs: Path, *, connections: int, primary: "PostgresServer | None" = None, **settings: object
    ) -> None:
        self.programs = programs
        self.primary = primary
        self.connections = connections
        self.settings = settings
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.has_crashed = False
        self.folder = Path(tempfile.mkdtemp(prefix="orderhooks-postgres-"))
        self.owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        if not (self.folder / "data").exists():
            self._make_data()
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "port": self.port,
            "max_connections": self.connections,
            **self.settings,
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(self.programs / "postgres"), "-D", str(self.folder / "data")),
                    *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                ],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.owner,
            )
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not come up: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _make_data(self) -> None:
        if self.primary is None:
            words = ["initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        else:
            words = [*("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"--host={HOST}")]
            words += ["--username=postgres", f"--port={self.primary.port}"]
        command = [str(self.programs / words[0]), f"--pgdata={self.folder}/data", "--no-sync", *words[1:]]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS, **self.owner)

    def _is_ready(self) -> bool:
        # After a crash it listens before it lets anybody in.
        import psycopg

        try:
            psycopg.connect(host=HOST, port=self.port, user="postgres", dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """As if it had crashed: `immediate`."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(START_SECONDS)
            self.process = None

    def crash(self) -> None:
        """`kill -9` of the process that all others of the server belong to: they end by themselves."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process, self.has_crashed = None, True

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run it outside of a transaction, as superuser. Its rows."""
        import psycopg

        with psycopg.connect(
            host=HOST, port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def promote(self) -> None:
        """Let a standby be a primary, with all that it has received."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def remove(self) -> None:
        if self.has_crashed:
            self.start()  # which removes the shared memory that it left behind
        self.stop()
        shutil.rmtree(self.folder)
