"""The demo's web server and django-q2 cluster: started together, ended together. Used by `demo` and `demo_check`."""

import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from django.conf import settings
from django.core.management import CommandError, call_command

HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 3.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOG_LINES = 15


@dataclass(frozen=True)
class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal reaches the command alone."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def require_running(self) -> None:
        """Raises CommandError, with the end of the log, if it has ended."""
        if self.process.poll() is not None:
            raise CommandError(
                f"The {self.name} has ended by itself. The end of its log, {self.log}:\n{tail(self.log)}"
            )


@dataclass(frozen=True)
class Site:
    """A running demo."""

    address: str
    children: tuple[Child, ...]

    def require_running(self) -> None:
        """Raises CommandError if the web server or the cluster has ended."""
        for child in self.children:
            child.require_running()


def end_on_signals() -> None:
    """From here on, the first of Ctrl-C, SIGTERM and a closed terminal raises KeyboardInterrupt."""
    for number in STOPPING:
        signal.signal(number, _end_once)


def _end_once(*_signal: object) -> None:
    """A second signal must not cut the ending short: it would leave processes behind."""
    for number in STOPPING:
        # Not SIG_IGN: Python complains of a signal that has come already.
        signal.signal(number, lambda *_signal: None)
    raise KeyboardInterrupt


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def require_free(port: int) -> None:
    """Raises CommandError if nothing could listen on the port."""
    if not 0 < port < 65536:
        raise CommandError(f"There is no port {port}. Choose one from 1024 to 65535 with --port.")
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        other = port + 1 if 1024 <= port < 65535 else 8001
        raise CommandError(f"Port {port} {why}. Choose another with --port, such as --port {other}.") from None


@contextmanager
def running(directory: Path, port: int, *, setup: str = "setup_demo") -> Iterator[Site]:
    """Prepare the database, start both processes, wait until the shop responds; end them on the way out.

    `setup`: the command that fills the database.

    Raises CommandError if the port is taken or a process does not come up.
    """
    for package in ("waitress", "whitenoise"):
        if importlib.util.find_spec(package) is None:
            raise CommandError(f'The demo needs {package}: in the checkout, python -m pip install -e ".[demo]"')
    require_free(port)
    call_command("migrate", verbosity=0, interactive=False)
    call_command(setup, port=port, verbosity=0)
    manage = str(settings.PROJECT_DIR / "manage.py")
    commands = {
        "web server": ["-m", "waitress", f"--listen={HOST}:{port}", "--threads=8", "shop_site.wsgi:application"],
        "worker": [manage, "qcluster"],
    }
    children: list[Child] = []
    try:
        for name, arguments in commands.items():
            with signals_held():
                children.append(start(name, arguments, directory))
        site = Site(f"http://{HOST}:{port}/", tuple(children))
        wait_until_it_answers(site)
        yield site
    finally:
        with signals_held():
            end(children)


def start(name: str, arguments: list[str], directory: Path) -> Child:
    log = directory / f"{name.replace(' ', '-')}.log"
    here = settings.PROJECT_DIR
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=here,
            env={
                **os.environ,
                "ORDERHOOKS_DEMO_DIR": str(directory),
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, log)


def wait_until_it_answers(site: Site) -> None:
    deadline = time.monotonic() + START_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < deadline:
            site.require_running()
            try:
                if session.get(site.address, timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.1)
    web = site.children[0]
    raise CommandError(f"The shop did not respond within {START_SECONDS:.0f} s. The end of {web.log}:\n{tail(web.log)}")


def end(children: list[Child]) -> None:
    """Send each SIGTERM, and kill what has not ended after STOP_SECONDS together.

    Only the leader gets it: a django-q2 cluster whose processes all get SIGTERM at once hangs.
    """
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        # The session's other processes, also those of a leader that died and left them behind.
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that arrive meanwhile count afterwards: no process is started and forgotten, no ending left half-way."""
    came: list[int] = []
    former = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if came:
        _end_once()


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-LOG_LINES:]) or "    (empty)"
