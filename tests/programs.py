"""Programs that tests start, read while they run, and end with all that they started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

END_SECONDS = 15.0


class Program:
    """A bash script at work in a folder, in a process group of its own; a context manager that ends the group."""

    def __init__(self, script: str, *, folder: Path, environment: Mapping[str, str], output: Path) -> None:
        self.script = script
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def told(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_for(self, condition: Callable[[str], object], *, seconds: float) -> str:
        """What it has printed, once that fulfils the condition. Fails with it if it ends before, or after the time."""
        until = time.monotonic() + seconds
        while not condition(self.told()):
            ended = self.process.poll()
            if ended is not None and not condition(self.told()):
                raise AssertionError(f"It ended with status {ended}:\n{self.script}\n{self.told()}")
            assert time.monotonic() < until, f"After {seconds} s:\n{self.script}\n{self.told()}"
            time.sleep(0.05)
        return self.told()

    def run(self, *, seconds: float) -> str:
        """What it printed, when it has ended well."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"After {seconds} s:\n{self.script}\n{self.told()}") from None
        assert status == 0, f"Status {status}:\n{self.script}\n{self.told()}"
        return self.told()

    def end(self) -> None:
        """As Ctrl-C would; what does not listen is killed."""
        for number, seconds in ((signal.SIGINT, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
            if not self._is_there():
                return
            os.killpg(self.process.pid, number)
            until = time.monotonic() + seconds
            while self._is_there() and time.monotonic() < until:
                self.process.poll()
                time.sleep(0.02)

    def _is_there(self) -> bool:
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True
