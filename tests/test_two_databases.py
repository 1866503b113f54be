"""Orders in a second database: a save never raises. It makes an event if one transaction holds both, or is marked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def run(folder: Path, layout: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.two_databases_child", str(folder), layout]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_orders_orderhooks_and_users_may_share_another_database(tmp_path: Path) -> None:
    assert run(tmp_path, "together") == {
        "state": "paid",
        "topics": ["order.created", "order.updated", "order.paid", "order.deleted"],
        "marks": [],
    }


@pytest.mark.parametrize("layout", ["apart", "copies"])
def test_orders_in_another_database_than_orderhooks_are_saved_and_marked(layout: str, tmp_path: Path) -> None:
    found = run(tmp_path, layout)
    assert (found["state"], found["topics"]) == ("paid", [])
    [[source, count, error]] = found["marks"]
    assert (source, count) == ("UuidOrder", 3)
    assert "'shop'" in error
    assert "'default'" in error
    assert "Route the orders" in error
