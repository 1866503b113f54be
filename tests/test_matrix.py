"""What the metadata claims is in the matrix (noxfile.py), and what the matrix runs is claimed."""

import importlib.util
import itertools
import os
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

pytestmark = pytest.mark.once

PROJECT = Path(__file__).resolve().parent.parent
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text())
CLAIMED = {
    name: [one.rpartition(" :: ")[2] for one in METADATA["project"]["classifiers"] if re.fullmatch(pattern, one)]
    for name, pattern in (
        ("python", r"Programming Language :: Python :: \d\.\d+"),
        ("django", r"Framework :: Django :: \d\.\d+"),
    )
}
DATABASES = ["sqlite", "postgres", "mariadb"]


@pytest.fixture
def noxfile(monkeypatch) -> Any:
    """The module, without nox, which only `make matrix` installs. `noxfile.nox` records its calls."""
    monkeypatch.setitem(sys.modules, "nox", MagicMock())
    monkeypatch.setenv("PATH", os.environ["PATH"])  # where the module puts interpreters
    spec = importlib.util.spec_from_file_location("noxfile", PROJECT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = ModuleType("noxfile")
    monkeypatch.setitem(sys.modules, "noxfile", module)
    spec.loader.exec_module(module)
    return module


def test_each_version_that_is_claimed_is_in_the_matrix_and_no_other(noxfile) -> None:
    assert sorted(noxfile.PYTHONS_OF) == sorted(CLAIMED["django"])
    assert {one for pythons in noxfile.PYTHONS_OF.values() for one in pythons} == set(CLAIMED["python"])
    assert list(noxfile.SERVICES) == DATABASES


def test_each_pair_of_versions_runs_with_each_database_and_each_django_with_the_lowest(noxfile) -> None:
    ran = {call.kwargs["id"]: call.args for call in noxfile.nox.param.call_args_list}
    assert noxfile.nox.options.sessions == ["suite"], "what `make matrix` runs"
    pairs = [(python, django) for django, pythons in noxfile.PYTHONS_OF.items() for python in pythons]
    for (python, django), database in itertools.product(pairs, DATABASES):
        kinds = [kind for kind in ("newest", "lowest") if f"{python}-{django}-{kind}-{database}" in ran]
        assert kinds, (python, django, database)
    lowest = {corner.django for _python, corner in ran.values() if corner.dependencies == "lowest"}
    assert lowest == set(CLAIMED["django"])


def test_what_continuous_integration_runs_has_each_version_and_database(noxfile) -> None:
    corners = noxfile.CORNERS
    assert {one.python for one in corners} == set(CLAIMED["python"])
    assert {one.django for one in corners} == set(CLAIMED["django"])
    assert {one.database for one in corners} == set(DATABASES)
    script = PROJECT / ".ci" / "corners"
    if script.exists():  # an sdist is without it
        assert set(re.findall(r'"suite\((.+?)\)"', script.read_text())) == {str(one) for one in corners}


def test_the_lowest_versions_are_those_that_are_installed_and_checked_for() -> None:
    python, django = (min(CLAIMED[name], key=lambda one: [*map(int, one.split("."))]) for name in ("python", "django"))
    assert METADATA["project"]["requires-python"] == f">={python}"
    assert f"django>={django}" in METADATA["project"]["dependencies"]
    assert METADATA["tool"]["mypy"]["python_version"] == python
    assert METADATA["tool"]["ruff"]["target-version"] == f"py{python.replace('.', '')}"


def test_the_readme_claims_the_same() -> None:
    pythons, djangos = CLAIMED["python"], CLAIMED["django"]
    claim = f"CPython {pythons[0]} to {pythons[-1]}, Django {', '.join(djangos[:-1])} and {djangos[-1]};"
    assert f"{claim} PostgreSQL, MariaDB or SQLite." in (PROJECT / "README.md").read_text()
