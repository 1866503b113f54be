"""The admin's pages with a million deliveries and 200 subscriptions, against the same pages with a thousand."""

import statistics
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from benchmarks.databases import Database, database
from benchmarks.reporting import Measure

FEW, MANY, ROUNDS = 1_000, 1_000_000, 5
HALF_A_PAGE = 25
SETTINGS = {"DJANGO_SETTINGS_MODULE": "benchmarks.admin_settings"}

# Of one address: milliseconds, queries, and rows of a list.
Visited = dict[str, float]


def admin() -> Iterable[Measure]:
    """Of each kind of page the worst ratio, and the slowest in milliseconds: which they are stands in the details."""
    with ExitStack() as stack:
        small, large = (_filled(stack.enter_context(database("postgres")), count) for count in (FEW, MANY))
        rounds = [(small.run("visit_pages", **SETTINGS), large.run("visit_pages", **SETTINGS)) for _ in range(ROUNDS)]
    for name in rounds[0][0]:
        yield worst_of(name, [(few[name], many[name]) for few, many in rounds])


def _filled(made: Database, deliveries: int) -> Database:
    made.run("migrate", **SETTINGS)
    made.run("fill_log", deliveries, **SETTINGS)
    return made


def worst_of(name: str, rounds: list[tuple[dict[str, Visited], dict[str, Visited]]]) -> Measure:
    """Of the pages of one kind, visited in a short and in a long log in turn."""
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
    return Measure(name, ratios[worst], "ratio", 3, details=details)


def _most_queries(pages: dict[str, Visited]) -> float:
    return max(page["queries"] for page in pages.values())


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"admin": admin}
