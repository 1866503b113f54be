"""The tutorial's commands and files, as they stand, come to what the tutorial says.

Three things are done for it: ports are replaced by free ones; the packages that this interpreter has are there in its
virtual environment too, so that `pip install` has only orderhooks to install; and commands end with the test.
"""

import contextlib
import os
import re
import shutil
import site
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.programs import Program
from tests.servers import answers, free_port

pytestmark = [pytest.mark.slow, pytest.mark.once]

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?P<before>[^\n]+(?:\n[^\n]+)*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)
SECONDS = 90.0


@dataclass
class Reader:
    """Somebody who follows the tutorial in a folder."""

    folder: Path
    environment: dict[str, str]
    stack: contextlib.ExitStack
    printed: str = ""
    terminals: dict[str, Program] = field(default_factory=dict)

    def follow(self, before: str, kind: str, text: str) -> None:
        """Do what a block says; the paragraph before it says where."""
        if found := re.search(r"Append this to `(.+?)`:$", before):
            with (self.folder / found[1]).open("a") as file:
                file.write(text)
        elif found := re.search(r"Write `(.+?)`:$", before):
            (self.folder / found[1]).write_text(text)
        elif kind == "sh" and (found := re.search(r"In a (second|third|fourth) terminal", before)):
            program = self.stack.enter_context(self.program(text, name=found[1]))
            self.terminals[found[1]] = program
        elif kind == "sh":
            with self.program(text, name="first") as program:
                self.printed = program.run(seconds=SECONDS)
        elif found := re.search(r"The (second|third) terminal shows:$", before):
            lines = sorted(text.split("\n"))
            shown = self.terminals[found[1]].wait_for(
                lambda printed: len(printed.split("\n")) >= len(lines), seconds=SECONDS
            )
            # Two events may overtake each other.
            assert sorted(shown.split("\n")) == lines
        else:
            assert kind == "text", f"Nobody knows what to do with this block: {text}"
            assert self.printed == text

    def program(self, script: str, *, name: str) -> Program:
        # The first terminal has activated the environment; each of the others does.
        begin = ". .venv/bin/activate\n" if name == "first" and (self.folder / ".venv").exists() else ""
        script = script.replace(VENV, f"{VENV}\n{OTHERS}")
        output = self.folder.parent / f"{name}.txt"
        return Program(begin + script, folder=self.folder, environment=self.environment, output=output)


VENV = "python3 -m venv .venv"
# The environment sees the packages that this interpreter has.
OTHERS = (
    'for folder in .venv/lib/python*/site-packages; do printf "%s\\n" "$SITE_PACKAGES" > "$folder/others.pth"; done'
)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    for needed in ("bash", "curl"):
        if not shutil.which(needed):
            pytest.skip(f"there is no {needed} on this machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    (tmp_path / "project").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTHON", "TEST_"))}
    environment = {
        **kept,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "ORDERHOOKS": str(ROOT),
        "SITE_PACKAGES": "\n".join(site.getsitepackages()),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with contextlib.ExitStack() as stack:
        yield Reader(tmp_path / "project", environment, stack)


def test_the_tutorial_works_as_it_stands(reader: Reader) -> None:
    text, ports = TUTORIAL.read_text(), {"9000": free_port(), "8000": free_port()}
    for port, free in ports.items():
        text = text.replace(port, str(free))
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```") // 2, "each block has a paragraph before it"
    for block in blocks:
        if "curl" in block["text"]:
            reader.terminals["second"].wait_for(lambda _printed: answers(ports["9000"]), seconds=SECONDS)
        reader.follow(block["before"], block["kind"], block["text"])
    shown = f"http://127.0.0.1:{ports['8000']}/admin/"
    assert shown in text
    reader.terminals["fourth"].wait_for(lambda _printed: answers(ports["8000"]), seconds=SECONDS)
    with urllib.request.urlopen(shown, timeout=20) as page:
        assert b"Log in" in page.read()
