"""Growth: what each step and each page takes with a long log, against the same with a short one.

`python -m benchmarks.growth` fills two databases on PostgreSQL, of ten thousand and of ten million attempts to a
thousand subscriptions, with a tenth as many orders, and works on both in turn. It prints a JSON object a line; status 1
if one misses its bar. The large one takes 15 GB of disk until the end.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence

from benchmarks import receipts
from benchmarks.databases import Database, database
from benchmarks.reporting import Measure

FEW, MANY = 10_000, 10_000_000
SUBSCRIPTIONS, CONCERNED = 1000, 5
ROUNDS = 5
HALF_A_PAGE = 25
SETTINGS = {"DJANGO_SETTINGS_MODULE": "benchmarks.admin_settings"}

# Of one address: milliseconds, queries, and rows of a list.
Visited = dict[str, float]


def growth(attempts: int) -> Iterator[Measure]:
    """The median of the rounds' ratios, of each step and of each page; and how often a long table was read through."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(receipts.running())
        made = [stack.enter_context(database("postgres")) for _ in range(2)]
        rows = [_fill(one, count, receiver.url) for one, count in zip(made, (FEW, attempts), strict=True)]
        read_before = made[1].run("read_through")
        steps = [[one.run("measure_steps") for one in made] for _ in range(ROUNDS)]
        visits = [[one.run("visit_pages", **SETTINGS) for one in made] for _ in range(ROUNDS)]
        read = {name: count - read_before[name] for name, count in made[1].run("read_through").items()}
    for step in steps[0][0]:
        yield _of_step(step, [(few[step], many[step]) for few, many in steps], rows[1])
    for kind in visits[0][0]:
        yield _of_pages(kind, [(few[kind], many[kind]) for few, many in visits])
    yield Measure("growth_read_through", sum(read.values()), "scans", 0, details=read)


def _fill(made: Database, attempts: int, url: str) -> dict[str, int]:
    made.run("migrate", **SETTINGS)
    urls = [f"{url}/{number}" for number in range(CONCERNED)]
    rows: dict[str, int] = made.run("fill_long_log", attempts, SUBSCRIPTIONS, urls)
    return rows


def _of_step(step: str, rounds: Sequence[tuple[float, float]], rows: dict[str, int]) -> Measure:
    few, many = (statistics.median(times) for times in zip(*rounds, strict=True))
    details = {"few_ms": round(few, 3), "many_ms": round(many, 3), "rounds": len(rounds), **rows}
    return Measure(f"growth_{step}", statistics.median(two / one for one, two in rounds), "ratio", 1.5, details=details)


def _of_pages(kind: str, rounds: list[tuple[dict[str, Visited], dict[str, Visited]]]) -> Measure:
    """Of the pages of one kind the worst ratio, and the slowest: which they are stands in the details."""
    few, many = rounds[0]
    ratios = {
        asked: statistics.median(after[asked]["ms"] / before[asked]["ms"] for before, after in rounds)
        for asked in many
        # A page of fifty rows against one of five would compare the drawing of rows.
        if few[asked]["rows"] >= min(many[asked]["rows"], HALF_A_PAGE)
    }
    took = {asked: statistics.median(after[asked]["ms"] for _before, after in rounds) for asked in many}
    worst, slowest = max(ratios, key=ratios.__getitem__), max(took, key=took.__getitem__)
    details = {
        "worst": worst,
        "few_ms": round(statistics.median(before[worst]["ms"] for before, _after in rounds), 1),
        "many_ms": round(took[worst], 1),
        "slowest": slowest,
        "slowest_ms": round(took[slowest], 1),
        "queries": {"few": _most_queries(few), "many": _most_queries(many)},
        "rounds": len(rounds),
    }
    return Measure(f"growth_{kind}", ratios[worst], "ratio", 3, details=details)


def _most_queries(pages: dict[str, Visited]) -> float:
    return max(page["queries"] for page in pages.values())


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--attempts", type=int, default=MANY)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ok = True
    for measure in growth(arguments.attempts):
        print(measure.line(), flush=True)
        ok &= measure.ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
