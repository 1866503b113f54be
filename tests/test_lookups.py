"""Looking names up: one question for each name, and a share of the threads for names that hang."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orderhooks.transport.lookups import UNKNOWN_SHARE, Lookups, NotBegunError, TooLateError

LONG = 30.0


class Resolver:
    """Answers names that begin with `good`; others hang until `let_go`."""

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
def resolver():
    resolver = Resolver()
    yield resolver
    resolver.let_go.set()


def test_names_that_hang_have_half_of_the_threads_and_known_ones_the_rest(resolver) -> None:
    lookups = Lookups(8, resolver)
    assert lookups.ask("good.example", 443, wait_seconds=LONG) == ["192.0.2.1"]
    for number in range(40):
        lookups.ask(f"hangs{number}.example", 443, wait_seconds=0)
    assert lookups.ask("good.example", 443, wait_seconds=LONG) == ["192.0.2.1"]
    assert len([host for host in resolver.asked if host.startswith("hangs")]) <= 8 // UNKNOWN_SHARE
    assert lookups.made <= 8
    assert not lookups.waiting, "whoever has stopped waiting is forgotten"


def test_a_new_process_finds_a_name_beside_twenty_that_hang(resolver) -> None:
    lookups = Lookups(resolve=resolver)
    for turn in range(2):
        for number in range(20):
            lookups.ask(f"hangs{number}.example", 443, wait_seconds=0.001)
        assert lookups.ask(f"good{turn}.example", 443, wait_seconds=2.0) == ["192.0.2.1"]


def test_whoever_asks_for_a_name_that_is_being_looked_up_waits_for_the_same_answer(resolver) -> None:
    lookups = Lookups(8, resolver)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(lookups.ask, "slow.example", 443, wait_seconds=LONG) for _ in range(20)]
        while not (question := lookups.questions.get(("slow.example", 443))) or question.asking < 20:
            pass
        resolver.let_go.set()
        assert {str(answer.result(LONG)) for answer in answers} == {"no answer"}
    assert resolver.asked == ["slow.example"]


def test_a_name_that_no_longer_answers_is_no_longer_known(resolver) -> None:
    lookups = Lookups(8, resolver)
    lookups.known["hangs.example"] = None
    assert isinstance(lookups.ask("hangs.example", 443, wait_seconds=0.01), TooLateError | NotBegunError)
    assert "hangs.example" not in lookups.known


def test_an_answer_is_not_kept(resolver) -> None:
    lookups = Lookups(8, resolver)
    for _ in range(2):
        lookups.ask("good.example", 443, wait_seconds=LONG)
    assert resolver.asked == ["good.example"] * 2
