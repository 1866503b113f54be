"""A site: a database of its own, the store's processes and its clusters of workers, all real and to be killed."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.hosts import GATEWAY, Host
from tests.chaos.ledger import Door, Entry
from tests.servers import HOST, PostgresServer, RabbitQueue

# Where `tests` is.
FOLDER = Path(__file__).parent.parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 30.0
CALL_SECONDS = 90.0


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Ask again and again. Fails with `what` was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in {seconds:g} s it did not come about: {what}"
        time.sleep(0.05)


class Shop:
    """A process of the store: `call` a function of `shop`, or `begin` one and `end` it later."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.shop"],
                cwd=FOLDER,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def call(self, name: str, **arguments: Any) -> Any:
        self.begin(name, **arguments)
        return self.end()

    def begin(self, name: str, **arguments: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the store's process has ended with status {self.process.wait()}"
        answer = json.loads(line)
        assert "raised" not in answer, answer["raised"]
        return answer["returned"]

    def wait_for_death(self) -> None:
        assert self.process.wait(CALL_SECONDS) == -signal.SIGKILL

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def _open_files(pid: int) -> set[str]:
    """What the descriptors of a process stand for; it opens and closes some meanwhile."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


QCLUSTER = ("-m", "django", "qcluster")
CELERY = (*("-m", "celery", "-A", "tests.chaos.celery_app", "worker"), "--without-gossip", "--without-mingle")


class Cluster:
    """A queue's workers, in a session of their own, on a `host` if one is given; `command` is Python's arguments."""

    def __init__(
        self, environment: dict[str, str], log: Path, *, host: Host | None = None, command: Sequence[str] = QCLUSTER
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.leader = subprocess.Popen(
                [*(host.command if host else ()), sys.executable, *command],
                cwd=FOLDER,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_it_runs(self) -> None:
        began = re.compile(r" running| ready\.$", re.MULTILINE)
        wait_until(lambda: began.search(self.log.read_text()), START_SECONDS, f"a running cluster: {self.log}")

    def processes(self) -> list[int]:
        """Those of its session that live."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self.leader.pid and state != "Z":
                        found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        ready = {int(pid) for pid in re.findall(r"ready for work at (\d+)", self.log.read_text())}
        return [pid for pid in self.processes() if pid in ready]

    def holder(self, port: int) -> int | None:
        """The process whose end of a connection this is."""
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        # A connection that was just closed may have had the same port; it belongs to nobody.
        sockets = {f"socket:[{words[9]}]" for words in lines if words[1].endswith(f":{port:04X}") and words[9] != "0"}
        for pid in self.processes():
            if not sockets.isdisjoint(_open_files(pid)):
                return pid
        return None

    def signal_all(self, number: int) -> None:
        """To every process of it: SIGSTOP stands for a host that hangs, SIGCONT for one that goes on."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.leader.pid, signal.SIGKILL)
        self.leader.wait()

    def stop(self) -> None:
        """SIGTERM to the leader alone, and no more patience than STOP_SECONDS."""
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.leader.terminate()
        try:
            self.leader.wait(STOP_SECONDS)
        finally:
            self.kill()


@dataclass
class Subscribed:
    """A subscription: its key, its secret, and the paths at which it has been."""

    key: int
    secret: str
    paths: set[str]


@dataclass
class Site:
    """Made by `conftest`; `random` is the row's own dice."""

    folder: Path
    database: dict[str, Any]
    door: Door
    random: random.Random
    redis: str = ""
    # From which it reads.
    replica: PostgresServer | None = None
    # With a queue of RabbitMQ its workers are Celery's.
    rabbitmq: RabbitQueue | None = None
    workers: int = 2
    # After which django-q2 ends a task, whatever it does.
    task_seconds: int = 20
    orderhooks: dict[str, Any] = field(default_factory=dict)
    subscriptions: list[Subscribed] = field(default_factory=list)
    committed: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)
    # What the database refused to save: it may be there or not.
    refused: set[str] = field(default_factory=set)
    kills: int = 0

    def __post_init__(self) -> None:
        self._shops: list[Shop] = []
        self._clusters: list[Cluster] = []
        # By what the clocks of the clusters' machine and of the store's are wrong.
        self.worker_clock, self.shop_clock = self.folder / "worker-clock", self.folder / "shop-clock"
        for file in (self.worker_clock, self.shop_clock):
            file.write_text("0")
        self.shop = self.open_shop()

    def _environment(self, clock: Path, host: Host | None = None) -> dict[str, str]:
        queue = self.rabbitmq
        settings = {
            "database": {**self.database, "HOST": GATEWAY} if host else self.database,
            "replica": self.replica and {**self.database, "PORT": self.replica.port},
            "redis": self.redis.replace(HOST, GATEWAY) if host else self.redis,
            "rabbitmq": queue and {"url": queue.url.replace(HOST, GATEWAY) if host else queue.url, "queue": queue.name},
            "workers": self.workers,
            "task_seconds": self.task_seconds,
            "orderhooks": self.orderhooks,
            "clock": str(clock),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEST_", "COV_", "PYTEST"))}
        return {**kept, "DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "CHAOS_SITE": json.dumps(settings)}

    def open_shop(self, clock: Path | None = None) -> Shop:
        self._shops.append(Shop(self._environment(clock or self.shop_clock), self.folder / "shop.log"))
        return self._shops[-1]

    def start_cluster(self, host: Host | None = None) -> Cluster:
        log = self.folder / f"cluster-{len(self._clusters)}.log"
        environment = self._environment(host.clock if host else self.worker_clock, host)
        command: list[str] = list(QCLUSTER)
        if self.rabbitmq:
            # RabbitMQ lets no two workers of one name stand side by side, of whatever site.
            name = f"{len(self._clusters)}@{self.rabbitmq.name}"
            command = [*CELERY, "--loglevel", "info", "--concurrency", str(self.workers), "--hostname", name]
        self._clusters.append(Cluster(environment, log, host=host, command=command))
        self._clusters[-1].wait_until_it_runs()
        return self._clusters[-1]

    def subscribe(
        self, path: str, *, door: Door | None = None, host: str = "", topics: tuple[str, ...] = ("*",), **fields: Any
    ) -> int:
        """A subscription to everything, or to these topics; at the host of that name if one is given. Its key."""
        url = f"http://{host}{path}" if host else (door or self.door).url(path)
        key, secret = self.shop.call("subscribe", url=url, topics=topics, **fields)
        self.subscriptions.append(Subscribed(key, secret, {path}))
        return key

    def place(self, count: int, **how: Any) -> None:
        """Save this many orders, some paid later, some rolled back."""
        self.note(self.shop.call("place", count=count, seed=self.random.getrandbits(32), **how))

    @contextlib.contextmanager
    def trade(self, count: int, each_seconds: float, *, act: str = "place", **how: Any) -> Iterator[None]:
        """The same beside what the block does, by this function of `shop`."""
        shop = self.open_shop()
        shop.call("owed")  # it runs, so the block's moments count from its first order
        shop.begin(act, count=count, seed=self.random.getrandbits(32), each_seconds=each_seconds, **how)
        yield
        self.note(shop.end())

    def note(self, told: dict[str, list[str]]) -> None:
        self.committed.update(told["committed"])
        self.rolled_back.update(told["rolled_back"])
        self.refused.update(told["refused"])

    def settle(self, seconds: float, *, sweep: bool = True, sweeper: Shop | None = None) -> None:
        """Wait until everything is sent. `sweep`: every three seconds as if a minute had passed; by the `sweeper`, if
        the store's own clock would not do.
        """
        end, next_sweep = time.monotonic() + seconds, 0.0
        while owed := self.shop.call("owed"):
            assert time.monotonic() < end, f"{owed} still wait after {seconds:g} s: {self.shop.call('states')}"
            if sweep and time.monotonic() > next_sweep:
                next_sweep = time.monotonic() + 3.0
                (sweeper or self.shop).call("minute_passes")
            time.sleep(0.2)

    def kill_sender(self, entry: Entry) -> None:
        """`kill -9` the worker whose request this is. To be called by the ledger, like the next one."""
        self.kills += 1
        os.kill(self._sender(entry), signal.SIGKILL)

    def stop_sender(self, entry: Entry) -> int:
        """SIGSTOP the worker whose request this is. Its process."""
        pid = self._sender(entry)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def _sender(self, entry: Entry) -> int:
        found = [pid for cluster in self._clusters if (pid := cluster.holder(entry.port))]
        if not found:
            raise LookupError(f"No worker holds the other end of port {entry.port}.")
        return found[0]

    def kill_cluster(self, cluster: Cluster) -> None:
        """`kill -9`, all of it: its machine has failed."""
        self.kills += 1
        cluster.kill()

    def close(self) -> None:
        for cluster in self._clusters:
            cluster.kill()
        for shop in self._shops:
            shop.close()
