"""What pages of the admin take with a million deliveries, against the same pages with a thousand."""

from collections.abc import Callable, Iterable

from benchmarks.databases import Database, database
from benchmarks.reporting import Measure

FEW, MANY = 1_000, 1_000_000
ROUNDS = 15
SETTINGS = {"DJANGO_SETTINGS_MODULE": "benchmarks.admin_settings"}
# What each page is called here, and its address below the admin's section; `{order}` is an order of the middle.
PAGES = {
    "admin_dashboard": "dashboard/",
    "admin_subscription_list": "subscription/",
    "admin_order_list": "order/",
    "admin_order": "order/{order}/change/",
    "admin_order_by_number": "dashboard/order/?number={number}",
}


def admin_health() -> Iterable[Measure]:
    """PostgreSQL, 200 subscriptions; the median of 15 visits by Django's test client, queries and template included."""
    took = {count: _visited(count) for count in (FEW, MANY)}
    for name in PAGES:
        few, many = took[FEW][name], took[MANY][name]
        details = {
            "few_ms": round(few["ms"], 1),
            "many_ms": round(many["ms"], 1),
            "few_queries": few["queries"],
            "many_queries": many["queries"],
        }
        yield Measure(name, many["ms"] / few["ms"], "ratio", 3, details=details)


def _visited(count: int) -> dict[str, dict[str, float]]:
    with database("postgres", **SETTINGS) as made:
        return visit(made, count)


def visit(made: Database, count: int) -> dict[str, dict[str, float]]:
    """Fill the database and report how long each page takes."""
    made.run("fill_shop", count, **SETTINGS)
    visited: dict[str, dict[str, float]] = made.run("visit", PAGES, ROUNDS, **SETTINGS)
    return visited


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"admin_health": admin_health}
