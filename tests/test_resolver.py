"""The resolver: one query for each name, and a share of the threads for names that hang."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orderhooks.transport.resolver import UNKNOWN_SHARE, Resolver, ResolverBusyError, ResolverTimeoutError

LONG = 30.0


class System:
    """The system's resolver: it finds names that begin with `good`; others hang until `let_go`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if not host.startswith("good"):
            self.let_go.wait(LONG)
            raise OSError("no answer")
        return ["192.0.2.1"]


@pytest.fixture
def system() -> Iterator[System]:
    system = System()
    yield system
    system.let_go.set()


def test_names_that_hang_have_half_of_the_threads_and_known_ones_the_rest(system) -> None:
    resolver = Resolver(8, system)
    assert resolver.resolve("good.example", 443, timeout_seconds=LONG) == ["192.0.2.1"]
    for number in range(40):
        resolver.resolve(f"hangs{number}.example", 443, timeout_seconds=0)
    assert resolver.resolve("good.example", 443, timeout_seconds=LONG) == ["192.0.2.1"]
    assert len([host for host in system.asked if host.startswith("hangs")]) <= 8 // UNKNOWN_SHARE
    assert resolver.started <= 8
    assert not resolver.queue, "a query that nobody waits for is forgotten"


def test_a_new_process_finds_a_name_beside_twenty_that_hang(system) -> None:
    resolver = Resolver(addresses_of=system)
    for turn in range(2):
        for number in range(20):
            resolver.resolve(f"hangs{number}.example", 443, timeout_seconds=0.001)
        assert resolver.resolve(f"good{turn}.example", 443, timeout_seconds=2.0) == ["192.0.2.1"]


def test_callers_of_a_name_that_is_being_looked_up_wait_for_the_same_result(system) -> None:
    resolver = Resolver(8, system)
    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(resolver.resolve, "slow.example", 443, timeout_seconds=LONG) for _ in range(20)]
        while not (query := resolver.queries.get(("slow.example", 443))) or query.waiting < 20:
            pass
        system.let_go.set()
        assert {str(one.result(LONG)) for one in results} == {"no answer"}
    assert system.asked == ["slow.example"]


def test_a_name_that_is_no_longer_found_is_no_longer_known(system) -> None:
    resolver = Resolver(8, system)
    resolver.known["hangs.example"] = None
    assert isinstance(
        resolver.resolve("hangs.example", 443, timeout_seconds=0.01), ResolverTimeoutError | ResolverBusyError
    )
    assert "hangs.example" not in resolver.known


def test_addresses_are_not_cached(system) -> None:
    resolver = Resolver(8, system)
    for _ in range(2):
        resolver.resolve("good.example", 443, timeout_seconds=LONG)
    assert system.asked == ["good.example"] * 2
