"""Growth: what each step and each page takes with a long log, against the same with a short one.

`python -m benchmarks.growth` fills two databases on PostgreSQL, of ten thousand and of ten million attempts to a thousand
subscriptions, with a tenth as many orders, and works on both in turn. It prints a JSON object a line; status 1 if one
misses its bar. The large one takes 15 GB of disk until the end.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence

from benchmarks import receipts
from benchmarks.admin import SETTINGS
from benchmarks.admin_health import PAGES
from benchmarks.databases import Database, database
from benchmarks.reporting import Measure

FEW, MANY = 10_000, 10_000_000
SUBSCRIPTIONS, CONCERNED = 1000, 5
ROUNDS, VISITS = 5, 7

# Milliseconds by what was done.
Took = dict[str, float]


def growth(attempts: int) -> Iterator[Measure]:
    """The median of the rounds' ratios, of each step and of each page; and how often a long table was read through."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(receipts.running())
        made = [stack.enter_context(database("postgres")) for _ in range(2)]
        rows = [_fill(one, count, receiver.url) for one, count in zip(made, (FEW, attempts), strict=True)]
        read_before = made[1].run("read_through")
        steps = [[one.run("measure_steps") for one in made] for _ in range(ROUNDS)]
        pages = [[_visit(one) for one in made] for _ in range(ROUNDS)]
        read = {name: count - read_before[name] for name, count in made[1].run("read_through").items()}
    yield from _ratios(steps, 1.5, rows[1])
    yield from _ratios(pages, 3.0, rows[1])
    yield Measure("growth_read_through", sum(read.values()), "scans", 0, details=read)


def _fill(made: Database, attempts: int, url: str) -> dict[str, int]:
    made.run("migrate", **SETTINGS)
    urls = [f"{url}/{number}" for number in range(CONCERNED)]
    rows: dict[str, int] = made.run("fill_long_log", attempts, SUBSCRIPTIONS, urls)
    return rows


def _visit(made: Database) -> Took:
    log = made.run("visit_pages", **SETTINGS)
    took = {f"{name} {asked}".strip(): page["ms"] for name, pages in log.items() for asked, page in pages.items()}
    others = made.run("visit", PAGES, VISITS, **SETTINGS)
    return {**took, **{name: page["ms"] for name, page in others.items()}}


def _ratios(rounds: Sequence[Sequence[Took]], bar: float, rows: dict[str, int]) -> Iterator[Measure]:
    for name in rounds[0][0]:
        few, many = (statistics.median(one[place][name] for one in rounds) for place in (0, 1))
        ratio = statistics.median(one[1][name] / one[0][name] for one in rounds)
        details = {"few_ms": round(few, 3), "many_ms": round(many, 3), "rounds": len(rounds), **rows}
        yield Measure(f"growth_{name}", ratio, "ratio", bar, details=details)


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
