"""Which commit the check upgrades from, and what its code could not do with the new schema's columns."""

import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MIGRATIONS = "orderhooks/migrations"
# In the message of a commit that gives an upgrade without a pause up, with the reason behind the colon.
TRAILER = "Upgrade-with-a-pause"

Columns = Mapping[str, Mapping[str, bool]]


@dataclass(frozen=True)
class Former:
    """The version to upgrade from: its commit, and why it is this one."""

    commit: str
    reason: str


def git(*arguments: str) -> str:
    """What git prints, or "" where it fails: no repository, no such commit."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def former_version(chosen: str = "") -> Former | None:
    """`chosen`; otherwise the newest release; otherwise the commit before the schema's last change; otherwise the
    parent of HEAD. None where there is no such commit: in a shallow clone, or outside a repository.
    """
    if chosen:
        commit = git("rev-parse", "--verify", "--quiet", f"{chosen}^{{commit}}")
        return Former(commit, "as chosen") if commit else None
    if tag := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"):
        return Former(git("rev-parse", f"{tag}^{{commit}}"), f"release {tag}")
    changed = git("log", "-1", "--first-parent", "--format=%H", "--", MIGRATIONS)
    if changed and git("ls-tree", f"{changed}^", MIGRATIONS):
        return Former(git("rev-parse", f"{changed}^"), "before the last change of the schema")
    parent = git("rev-parse", "--verify", "--quiet", "HEAD^")
    return Former(parent, "before the last commit") if parent and git("ls-tree", parent, MIGRATIONS) else None


def given_up(former: Former) -> str:
    """Why a commit since then gives an upgrade without a pause up, or ""."""
    return " ".join(
        git("log", f"--format=%(trailers:key={TRAILER},valueonly,separator=%x20)", f"{former.commit}..HEAD").split()
    )


def unpack(former: Former, folder: Path) -> None:
    """The package `orderhooks` as it was then, below the folder."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", former.commit, "orderhooks"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def misfits(former: Columns, new: Columns) -> list[str]:
    """What code of the former schema cannot do with the new one, each with the remedy."""
    problems = [
        f"table {table} is gone: keep it until the release after the next"
        for table in sorted(former.keys() - new.keys())
    ]
    for table in sorted(former.keys() & new.keys()):
        problems += [
            f"column {table}.{column} is gone: keep it until the release after the next"
            for column in sorted(former[table].keys() - new[table].keys())
        ]
        problems += [
            f"column {table}.{column} is new and has no default in the database: give its field a db_default"
            for column in sorted(new[table].keys() - former[table].keys())
            if not new[table][column]
        ]
        problems += [
            f"column {table}.{column} has lost its default in the database: give its field a db_default"
            for column in sorted(new[table].keys() & former[table].keys())
            if former[table][column] and not new[table][column]
        ]
    return problems
