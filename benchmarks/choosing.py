"""What filters cost where events are routed, and what a projection costs where deliveries are sent."""

import statistics
from collections.abc import Callable, Iterable

from benchmarks import sink
from benchmarks.databases import database
from benchmarks.drains import COUNT, seconds_of, side_by_side
from benchmarks.reporting import Measure

ROUNDS = 5
EVENTS = 200
SUBSCRIPTIONS = 1000
FILTERS = 10
# It is true of each event, so that as many deliveries are made.
FILTER = "data.order.currency != 'X{number:02}' && to_number(data.order.total) > `{number}`"
PROJECTION = "{number: data.order.number, total: data.order.total, note: data.order.note}"


def routing_filtered() -> Iterable[Measure]:
    """200 events to 1,000 subscriptions with 10 distinct filters, against the same without filters."""
    with database("postgres") as made:
        made.run("subscribe", [f"http://localhost/{number}" for number in range(SUBSCRIPTIONS)], ["*"], {})
        filters = [FILTER.format(number=number) for number in range(FILTERS)]
        made.run("route_events", EVENTS // 10, [])
        plain, filtered = [], []
        for _ in range(ROUNDS):
            plain.append(made.run("route_events", EVENTS, []))
            filtered.append(made.run("route_events", EVENTS, filters))
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(filtered, plain, strict=True)]
    details = {
        "plain_seconds": round(statistics.median(one["seconds"] for one in plain), 1),
        "filtered_seconds": round(statistics.median(one["seconds"] for one in filtered), 1),
        "deliveries": filtered[0]["deliveries"],
        "deliveries_plain": plain[0]["deliveries"],
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "rounds": ROUNDS,
    }
    yield Measure("routing_filtered_ratio", statistics.median(ratios), "ratio", 1.5, details=details)


def drain_projected() -> Iterable[Measure]:
    """A drain with a projection, against the same without, in turn."""
    plain: list[float] = []
    projected: list[float] = []
    with database("postgres") as made, sink.running() as receiver:
        subscriptions = made.run("subscribe", [receiver.http + "/"], ["*"], {})
        made.run("make_due", subscriptions, COUNT // 10)
        side_by_side(made, "drain", [[]])
        for _ in range(ROUNDS):
            for projection, rates in (("", plain), (PROJECTION, projected)):
                made.run("project", subscriptions, projection)
                made.run("make_due", subscriptions, COUNT)
                rates.append(COUNT / seconds_of(side_by_side(made, "drain", [[]])))
    ratios = [one / other for one, other in zip(projected, plain, strict=True)]
    details = {
        "plain_per_second": round(statistics.median(plain)),
        "projected_per_second": round(statistics.median(projected)),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "rounds": len(ratios),
        "sink": receiver.kind,
    }
    yield Measure("drain_projected_ratio", statistics.median(ratios), "ratio", 0.85, "higher", details)


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {
    "routing_filtered": routing_filtered,
    "drain_projected": drain_projected,
}
