"""Names that change their addresses between two look-ups, with a real resolver and real sockets.

A child in network and mount namespaces of its own (tests/rebinding_child.py) has them on its loopback.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rebinding_child import INNER, INNER_V6, METADATA, PUBLIC, SCENARIOS

# One process asks the child, for all of them.
pytestmark = [pytest.mark.xdist_group("rebinding"), pytest.mark.slow]

ROOT = Path(__file__).parent.parent
INSIDE = (INNER, INNER_V6, METADATA)
# As root, or with a user namespace in which everybody is.
WAYS_IN = (("unshare", "--net", "--mount"), ("unshare", "--user", "--map-root-user", "--net", "--mount"))


@functools.cache
def way_in() -> tuple[str, ...]:
    """The command that gives a child its namespaces, or () where that is not allowed."""
    if not all(map(shutil.which, ("unshare", "ip", "mount"))):
        return ()
    for way in WAYS_IN:
        trial = (*way, "sh", "-c", "ip link set lo up && mount --make-rprivate /")
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return way
    return ()


@functools.cache
def told() -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    namespaces = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt")]
    child = subprocess.run(
        [*way_in(), sys.executable, "-W", "error", "-m", "tests.rebinding_child", *namespaces],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.fixture
def ledgers(service) -> dict[str, Any]:
    """What the listeners at each address got: ledgers["transport" or "naive"][scenario][address]."""
    if not way_in():
        service("no namespaces here: needs unshare, ip and mount, and root or user namespaces")
    return told()


def connections(ledger: dict[str, Any], *addresses: str) -> int:
    return sum(ledger[address]["connections"] for address in addresses)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_inside_is_ever_called(ledgers, scenario: str) -> None:
    assert connections(ledgers["transport"][scenario], *INSIDE) == 0


def test_a_name_that_keeps_its_address_is_reached_each_time(ledgers) -> None:
    ledger = ledgers["transport"]["steady"]
    assert (ledger["first"], ledger["second"]) == ("", "")
    assert ledger[PUBLIC] == {"connections": 2, "hosts": ["steady.transport.example"] * 2}


@pytest.mark.parametrize("scenario", ["to-metadata", "to-inner", "to-inner-v6"])
def test_a_name_that_turns_inwards_is_called_where_it_was_judged_and_then_no_more(ledgers, scenario: str) -> None:
    ledger = ledgers["transport"][scenario]
    assert (ledger["first"], ledger["lookups"], ledger["second"]) == ("", 1, "blocked")
    assert ledger[PUBLIC] == {"connections": 1, "hosts": [f"{scenario}.transport.example"]}


def test_a_name_that_turns_outwards_is_refused_as_long_as_it_is_inside(ledgers) -> None:
    ledger = ledgers["transport"]["from-inner"]
    assert (ledger["first"], ledger["lookups"], ledger["second"]) == ("blocked", 1, "")
    assert connections(ledger, PUBLIC) == 1


@pytest.mark.parametrize("scenario", ["mixed", "mixed-v6"])
def test_one_address_inside_closes_the_whole_name(ledgers, scenario: str) -> None:
    ledger = ledgers["transport"][scenario]
    assert (ledger["first"], ledger["second"]) == ("blocked", "blocked")
    assert connections(ledger, PUBLIC) == 0


@pytest.mark.parametrize(
    ("scenario", "address"), [("to-metadata", METADATA), ("to-inner", INNER), ("to-inner-v6", INNER_V6)]
)
def test_a_check_before_requests_is_caught_by_the_same_names(ledgers, scenario: str, address: str) -> None:
    ledger = ledgers["naive"][scenario]
    assert ledger["first"] == ""
    assert ledger[address]["hosts"] == [f"{scenario}.naive.example"]
