"""The admin's pages with a million deliveries and 200 subscriptions, against the same pages with a thousand."""

from collections.abc import Callable, Iterable

from benchmarks.databases import database
from benchmarks.reporting import Measure

FEW, MANY = 1_000, 1_000_000
HALF_A_PAGE = 25
SETTINGS = {"DJANGO_SETTINGS_MODULE": "benchmarks.admin_settings"}


def admin() -> Iterable[Measure]:
    """Of each kind of page the worst ratio, and the slowest in milliseconds: which they are stands in the details."""
    took = {}
    for deliveries in (FEW, MANY):
        with database("postgres") as made:
            made.run("migrate", **SETTINGS)
            made.run("fill_log", deliveries, **SETTINGS)
            took[deliveries] = made.run("visit_pages", **SETTINGS)
    for name, pages in took[MANY].items():
        few = took[FEW][name]
        # A page of fifty rows against one of five would compare the drawing of rows.
        alike = [asked for asked in pages if few[asked]["rows"] >= min(pages[asked]["rows"], HALF_A_PAGE)]
        worst = max(alike, key=lambda asked: pages[asked]["ms"] / few[asked]["ms"])
        slowest = max(pages, key=lambda asked: pages[asked]["ms"])
        details = {
            "worst": worst,
            "few_ms": round(few[worst]["ms"], 1),
            "many_ms": round(pages[worst]["ms"], 1),
            "slowest": slowest,
            "slowest_ms": round(pages[slowest]["ms"], 1),
            "queries": {"few": _most_queries(few), "many": _most_queries(pages)},
        }
        yield Measure(name, pages[worst]["ms"] / few[worst]["ms"], "ratio", 3, details=details)


def _most_queries(pages: dict[str, dict[str, float]]) -> float:
    return max(page["queries"] for page in pages.values())


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"admin": admin}
