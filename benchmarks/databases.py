"""Databases that benchmarks make and drop, and the processes that work on them."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings

HERE = Path(__file__).parent
# Nothing here takes longer; what does hangs.
CHILD_SECONDS = 900
# What a child says when it has loaded everything, and what it waits for.
READY = "ready\n"
GO = "go\n"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database: `run` a function of `children` in a process of its own, or `start` one."""

    vendor: str
    name: str

    def start(self, task: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """A child that runs `children.<task>(*arguments)` and prints what it returns as JSON."""
        return subprocess.Popen(
            [sys.executable, "-B", "-m", "benchmarks.children", task, *map(json.dumps, arguments)],
            cwd=HERE.parent,
            env={**_environment(), "BENCH_DATABASE": f"{self.vendor}:{self.name}", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self, task: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """A child that has everything loaded and waits for `go`."""
        child = self.start(task, *arguments, **environment)
        assert child.stdout
        if child.stdout.readline() != READY:
            child.wait()
            raise RuntimeError("A benchmark's process ended before it was ready; it says why above.")
        return child

    def run(self, task: str, *arguments: object, **environment: str) -> Any:
        return result(self.start(task, *arguments, **environment))


def go(*children: subprocess.Popen[str]) -> None:
    """Set children off that are `ready`."""
    for child in children:
        assert child.stdin
        child.stdin.write(GO)
        child.stdin.flush()


def result(child: subprocess.Popen[str]) -> Any:
    """What a child's function returned. Raises RuntimeError if it failed; its traceback is on stderr."""
    try:
        printed, _ = child.communicate(timeout=CHILD_SECONDS)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode:
        raise RuntimeError(f"A benchmark's process ended with status {child.returncode}; it says why above.")
    return json.loads(printed.splitlines()[-1])


@contextlib.contextmanager
def database(vendor: str, **environment: str) -> Iterator[Database]:
    """A migrated database of this run's own: "postgres", on the server that BENCH_POSTGRES_HOST names, or "sqlite"."""
    with postgres(f"bench_orderhooks_{os.getpid()}_{next(_numbers)}") if vendor == "postgres" else _sqlite() as made:
        made.run("migrate", **environment)
        yield made


@contextlib.contextmanager
def _sqlite() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix=".run-", dir=HERE) as folder:
        yield Database("sqlite", str(Path(folder) / "database.sqlite3"))


@contextlib.contextmanager
def postgres(name: str) -> Iterator[Database]:
    """An empty database of that name, dropped at the end."""
    import psycopg

    host = os.environ.get("BENCH_POSTGRES_HOST", "127.0.0.1")
    user = os.environ.get("BENCH_POSTGRES_USER", "postgres")
    with psycopg.connect(host=host, user=user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield Database("postgres", name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _environment() -> dict[str, str]:
    # What a `requests.Session` looks up for each request is measured with few variables, as in `transport`.
    postgres_too = ("BENCH_POSTGRES_HOST", "BENCH_POSTGRES_USER", "BENCH_POSTGRES_OPTIONS", "BENCH_RANGES")
    kept = ("PATH", "HOME", "PYTHONPATH", *postgres_too)
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return {**environment, "DJANGO_SETTINGS_MODULE": str(settings.SETTINGS_MODULE)}
