"""How long it takes to compare many orders with what was last published of them, and how much memory."""

from collections.abc import Callable, Iterable

from benchmarks.databases import database
from benchmarks.reporting import Measure

ORDERS = 100_000
MEGABYTE = 1_000_000


def reconciling() -> Iterable[Measure]:
    """A whole reconciliation against a plain loop that reads the same orders; the memory of its process."""
    with database("postgres") as made:
        small, large = (_measured(made, orders) for orders in (ORDERS // 10, ORDERS - ORDERS // 10))
        details = {
            "orders": large["compared"],
            "seconds": round(large["ours"], 1),
            "plain_seconds": round(large["plain"], 1),
            "digests_seconds": round(large["digests"], 1),
        }
        yield Measure("reconcile_ratio", large["ours"] / large["plain"], "ratio", 2.0, details=details)
        megabytes = {f"{name}_mb": round(one["rss"] / MEGABYTE) for name, one in (("tenth", small), ("all", large))}
        yield Measure("reconcile_memory_ratio", large["rss"] / small["rss"], "ratio", 1.1, details=megabytes)


def _measured(made, orders: int) -> dict[str, float]:
    filled = made.run("fill_published_orders", orders)
    return {**made.run("reconcile_all"), "digests": filled["seconds"]}


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"reconciling": reconciling}
