"""The check of upgrades without a pause (`make upgrade-check`) finds what it is there to find."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chaos.ledger import Entry
from tests.upgrade import versions
from tests.upgrade.__main__ import logged_errors, reckon

pytestmark = pytest.mark.once

FORMER = {"orderhooks_order": {"id": True, "number": False, "note": True}}


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (FORMER, ""),
        ({**FORMER, "orderhooks_carrier": {"name": False}}, ""),
        ({"orderhooks_order": {**FORMER["orderhooks_order"], "weight": True}}, ""),
        ({"orderhooks_order": {**FORMER["orderhooks_order"], "weight": False}}, "order.weight is new and has no"),
        ({"orderhooks_order": {**FORMER["orderhooks_order"], "note": False}}, "order.note has lost its default"),
        ({"orderhooks_order": {"id": True, "note": True}}, "order.number is gone"),
        ({}, "table orderhooks_order is gone"),
    ],
)
def test_columns_that_former_code_cannot_do_with_are_named(new, problem: str) -> None:
    found = versions.misfits(FORMER, new)
    assert len(found) == bool(problem)
    assert problem in "".join(found)


def entry(attempt: int, path: str = "/new", answered: int | None = 200) -> Entry:
    headers = {"webhook-id": "evt_1", "webhook-attempt": str(attempt)}
    return Entry(path, headers, "", b"", port=1, at=0.0, answered=answered)


@pytest.mark.parametrize(
    ("state", "entries", "unanswered", "problems"),
    [
        ("delivered", [entry(1)], [], 0),
        ("delivered", [entry(1, answered=503), entry(2)], [], 0),
        ("delivered", [entry(1), entry(2)], [["evt_1", 1]], 0),
        ("delivered", [entry(1), entry(2)], [], 1),
        ("delivered", [entry(1, answered=None)], [], 1),
        ("sending", [entry(1)], [], 1),
    ],
)
def test_a_delivery_that_is_lost_or_came_twice_is_a_problem(state: str, entries, unanswered, problems: int) -> None:
    rows = [["evt_1", "order.created", "ord_1", "http://127.0.0.1:1/new", state]]
    rows += [["evt_1", "order.created", "ord_1", "http://127.0.0.1:1/former", "delivered"]]
    report = {"deliveries": rows, "unanswered": unanswered}
    assert len(reckon({"ord_1"}, report, [*entries, entry(1, "/former")])) == problems


def test_an_order_without_an_event_is_lost() -> None:
    assert len(reckon({"ord_1"}, {"deliveries": [], "unanswered": []}, [])) == 2


def test_errors_in_logs_are_found(tmp_path: Path) -> None:
    (tmp_path / "new-worker-1.log").write_text("INFO django-q: running\nERROR orderhooks.tasks: could not wake\n")
    assert logged_errors(tmp_path) == ["new-worker-1.log: ERROR orderhooks.tasks: could not wake"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name, value in {"NAME": "Ada", "EMAIL": "ada@example.com"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    return tmp_path


def commit(repository: Path, file: str, text: str, message: str = "Change") -> str:
    path = repository / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    versions.git("add", file)
    versions.git("commit", "--quiet", "-m", message)
    return versions.git("rev-parse", "HEAD")


MIGRATION = "orderhooks/migrations/0001_initial.py"


def test_the_former_version_is_the_one_before_the_schema_changed(repository: Path) -> None:
    assert versions.former_version() is None, "a repository without a commit"
    first = commit(repository, MIGRATION, "1")
    assert versions.former_version() is None, "the first commit"
    second = commit(repository, "orderhooks/tasks.py", "1")
    assert versions.former_version() == versions.Former(first, "before the last commit")
    commit(repository, MIGRATION, "2")
    commit(repository, "orderhooks/tasks.py", "2")
    former = versions.former_version()
    assert former == versions.Former(second, "before the last change of the schema")
    assert versions.given_up(former) == ""
    assert versions.former_version("no-such-commit") is None
    assert versions.former_version(first) == versions.Former(first, "as chosen")
    versions.unpack(former, repository / "former")
    assert (repository / "former" / "orderhooks" / "tasks.py").read_text() == "1"
    versions.git("tag", "v1.0")
    commit(repository, "orderhooks/tasks.py", "3", "Drop it\n\nUpgrade-with-a-pause: the table is gone")
    former = versions.former_version()
    assert former == versions.Former(versions.git("rev-parse", "v1.0"), "release v1.0")
    assert versions.given_up(former) == "the table is gone"


def test_a_shallow_clone_has_no_former_version(repository: Path, tmp_path_factory, monkeypatch) -> None:
    commit(repository, MIGRATION, "1")
    commit(repository, MIGRATION, "2")
    clone = tmp_path_factory.mktemp("clone")
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", repository.as_uri(), clone], check=True)
    monkeypatch.setattr(versions, "ROOT", clone)
    assert versions.git("log", "-1", "--format=%s") == "Change"
    assert versions.former_version() is None
