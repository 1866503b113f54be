"""Who is measured: orderhooks and its peers, each with what its shop and its workers are started by."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.databases import Database, database, go, postgres, result

HERE = Path(__file__).parent
STOP_SECONDS = 15
LINGER = json.dumps({"LINGER_SECONDS": 600})


class Shop(Protocol):
    """A shop whose orders go to the sink."""

    def place_orders(self, count: int) -> "subprocess.Popen[str]":
        """A process that saves this many orders once it gets the signal."""

    def began(self, done: Mapping[str, Any]) -> float:
        """When the first of them began to be saved, from what that process printed."""

    def workers(self) -> contextlib.AbstractContextManager[None]:
        """Its workers, for the time of the block."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """`orders` are saved for each measurement: such that it takes seconds."""

    name: str
    orders: int
    workers: str
    version: str

    def opened(self, url: str) -> contextlib.AbstractContextManager[Shop]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Ours(Contestant):
    """Pumps, each in a process of its own."""

    pumps: int

    @contextlib.contextmanager
    def opened(self, url: str) -> Iterator[Shop]:
        with database("postgres") as made:
            made.run("subscribe", [url], ["order.created"], {})
            yield OurShop(made, self.pumps)


@dataclass(frozen=True, slots=True)
class OurShop:
    made: Database
    pumps: int

    def place_orders(self, count: int) -> "subprocess.Popen[str]":
        return self.made.ready("place_orders", count, 0.0)

    def began(self, done: Mapping[str, Any]) -> float:
        return float(min(at for at, _announced in done.values()))

    @contextlib.contextmanager
    def workers(self) -> Iterator[None]:
        pumps = [self.made.ready("pump", 600, BENCH_ORDERHOOKS=LINGER) for _ in range(self.pumps)]
        go(*pumps)
        try:
            yield
        finally:
            for pump in pumps:
                pump.kill()
                pump.wait()


@dataclass(frozen=True, slots=True)
class Peer(Contestant):
    """A package in an environment of its own. `commands` start its workers, each in a process group of its own."""

    settings: str
    requirements: Sequence[str]
    commands: Sequence[Sequence[str]]

    @property
    def folder(self) -> Path:
        return HERE.parent / f".peers-{self.version.replace(' ', '-')}"

    def install(self) -> None:
        """Once: an environment that exists is used again."""
        stamp, wanted = self.folder / "installed", "\n".join(self.requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        venv.create(self.folder, clear=True, with_pip=True)
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Without PYTHONPATH, in which pip would find orderhooks.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([*pip, *self.requirements], check=True, stdout=sys.stderr, env=environment)
        stamp.write_text(wanted)

    @contextlib.contextmanager
    def opened(self, url: str) -> Iterator[Shop]:
        self.install()
        name = f"bench_{self.settings}_{os.getpid()}"
        with postgres(name), _redis(f"{name}:") as redis_url:
            environment = {
                **{key: os.environ[key] for key in ("PATH", "HOME", *BENCH) if key in os.environ},
                "DJANGO_SETTINGS_MODULE": self.settings,
                "BENCH_DATABASE": name,
                "BENCH_REDIS_URL": redis_url,
                "BENCH_REDIS_PREFIX": f"{name}:",
                "PYTHONWARNINGS": "ignore",  # django-webhook queries the database while it is loaded
            }
            shop = PeerShop(self, environment)
            shop.run("migrate")
            shop.run("subscribe", url)
            yield shop


BENCH = ("BENCH_POSTGRES_HOST", "BENCH_POSTGRES_USER")


@dataclass(frozen=True, slots=True)
class PeerShop:
    peer: Peer
    environment: dict[str, str] = field(repr=False)

    def start(self, task: str, *arguments: object) -> "subprocess.Popen[str]":
        python = str(self.peer.folder / "bin" / "python")
        return subprocess.Popen(
            [python, "-B", "tasks.py", task, *map(json.dumps, arguments)],
            cwd=HERE / "project",
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, task: str, *arguments: object) -> None:
        result(self.start(task, *arguments))

    def place_orders(self, count: int) -> "subprocess.Popen[str]":
        child = self.start("place_orders", count)
        assert child.stdout
        child.stdout.readline()
        return child

    def began(self, done: Mapping[str, Any]) -> float:
        return float(done["began"])

    @contextlib.contextmanager
    def workers(self) -> Iterator[None]:
        started = [
            subprocess.Popen(
                [str(self.peer.folder / "bin" / command), *arguments],
                cwd=HERE / "project",
                env={**self.environment, "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for command, *arguments in self.peer.commands
        ]
        try:
            yield
            if ended := [one.args for one in started if one.poll() is not None]:
                raise RuntimeError(f"A worker of {self.peer.name} ended by itself: {ended}")
        finally:
            for one in started:
                one.terminate()
            for one in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(STOP_SECONDS)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.wait()


@contextlib.contextmanager
def _redis(prefix: str) -> Iterator[str]:
    """The broker's URL; what is left under the prefix is deleted at the end."""
    import redis

    url = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
    try:
        yield url
    finally:
        with redis.from_url(url) as connection:
            for key in connection.scan_iter(match=f"{prefix}*"):
                connection.delete(key)


CELERY = ["celery", "-A", "with_django_webhook", "worker", "--loglevel", "ERROR"]
# What a worker does beside its work, left out in its favour.
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
django_webhook = partial(
    Peer,
    settings="with_django_webhook",
    requirements=["django-webhook==0.0.15", "celery[redis]", "psycopg[binary]"],
    version="django-webhook 0.0.15",
    orders=400,
)
CONTESTANTS: list[Contestant] = [
    Ours("orderhooks", orders=1500, workers="1 pump", version="this one", pumps=1),
    Ours("orderhooks_two_processes", orders=3000, workers="2 pumps", version="this one", pumps=2),
    django_webhook(
        "django_webhook_prefork",
        workers="Celery, prefork, 2 processes",
        commands=[[*CELERY, "--pool", "prefork", "--concurrency", "2"]],
    ),
    django_webhook(
        "django_webhook_threads",
        workers="Celery, 32 threads",
        commands=[[*CELERY, "--pool", "threads", "--concurrency", "32"]],
    ),
    Peer(
        "django_outbound_webhooks",
        orders=200,
        workers="2 relays",
        version="django-outbound-webhooks 0.4.0",
        settings="with_outbound_webhooks",
        requirements=["django-outbound-webhooks==0.4.0", "psycopg[binary]"],
        commands=[["python", "-m", "django", "deliver_events"]] * 2,
    ),
]
