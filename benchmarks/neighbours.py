"""From a save to its receipt: on an idle system, beside an endpoint that hangs, beside one with a million waiting."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping

from benchmarks import names, receipts
from benchmarks.databases import Database, database, go, result
from benchmarks.receipts import Receipts
from benchmarks.reporting import Measure
from benchmarks.stages import medians_ms, stages_of

LINGER = json.dumps({"LINGER_SECONDS": 600})
WARM_UP = 30


def _milliseconds(made: Database, receiver: Receipts, *, orders: int, each_seconds: float, path: str) -> list[float]:
    """Of each receipt at `path`: milliseconds from the beginning of the save. One pump is at work."""
    saver = made.ready("place_orders", orders + WARM_UP, each_seconds)
    pump = made.ready("pump", (orders + WARM_UP) * each_seconds + 4, BENCH_ORDERHOOKS=LINGER)
    go(pump, saver)
    began = {event: at for event, (at, _ended) in result(saver).items()}
    try:
        result(pump)
    finally:
        pump.kill()
    warm = sorted(began.values())[WARM_UP]
    came = receiver.collect()
    return [
        (at - began[event]) * 1e3
        for where, event, at in came
        if where.startswith(path) and event in began and began[event] >= warm
    ]


def latency() -> Iterable[Measure]:
    """With each stage of those in the middle, and of the slowest twentieth. `…_in_worker`: by COALESCE_IN_WORKER."""
    with database("postgres") as made, receipts.running() as receiver:
        made.run("subscribe", [receiver.url + "/"], ["order.created"], {})
        for case, in_worker in (("", False), ("_in_worker", True)):
            settings = {"BENCH_ORDERHOOKS": json.dumps({"LINGER_SECONDS": 600, "COALESCE_IN_WORKER": in_worker})}
            rounds = [_traced(made, receiver, settings, orders=200, each_seconds=0.05) for _ in range(3)]
            yield from _latencies(case, [stages for one in rounds for stages in one])


def _latencies(case: str, stages: list[dict[str, float]]) -> Iterable[Measure]:
    stages.sort(key=lambda each: sum(each.values()))
    took = [sum(each.values()) * 1e3 for each in stages]
    count = len(took)
    middle = {"receipts": count, "stages_ms": medians_ms(stages[count // 4 : count * 3 // 4])}
    slowest = {"receipts": count, "stages_ms": medians_ms(stages[count * 19 // 20 :])}
    yield Measure(f"latency_p50{case}", statistics.median(took), "ms", 10, details=middle)
    yield Measure(f"latency_p99{case}", _p99(took), "ms", 25, details=slowest)


def _traced(
    made: Database, receiver: Receipts, settings: Mapping[str, str], *, orders: int, each_seconds: float
) -> list[dict[str, float]]:
    """The stages of each order after the warm-up."""
    saver = made.ready("place_orders", orders + WARM_UP, each_seconds, **settings)
    pump = made.ready("pump_traced", (orders + WARM_UP) * each_seconds + 4, **settings)
    go(pump, saver)
    saved = result(saver)
    traced = result(pump)
    received = {event: at for _path, event, at in receiver.collect()}
    warm = sorted(saved, key=lambda event: saved[event])[WARM_UP:]
    found = [stages_of(saved[event], traced, event, received[event]) for event in warm]
    return [one for one in found if one is not None]


def hanging_neighbour() -> Iterable[Measure]:
    with database("postgres") as made, receipts.running() as receiver:
        made.run("subscribe", [f"{receiver.url}/healthy/{number}" for number in range(20)], ["order.created"], {})
        [hanging] = made.run("subscribe", [f"{receiver.url}/hang"], ["order.created"], {})
        without: list[float] = []
        beside: list[float] = []
        for _ in range(3):
            for state, figures in (("paused", without), ("active", beside)):
                made.run("reset", hanging, state)
                took = _milliseconds(made, receiver, orders=60, each_seconds=0.125, path="/healthy/")
                figures.append(_p99(took))
    ratio = statistics.median(one / other for one, other in zip(beside, without, strict=True))
    details = {"p99_beside_ms": round(statistics.median(beside)), "p99_without_ms": round(statistics.median(without))}
    yield Measure("hanging_neighbour_p99", ratio, "ratio", 1.1, details={**details, "rounds": 3})


def unanswering_neighbours() -> Iterable[Measure]:
    """Beside 20 endpoints that accept and never respond, each at a name of its own; beside 20 whose names hang."""
    for kind, end in (("tarpits", names.TARPIT), ("silent_names", names.SILENT)):
        with database("postgres") as made, receipts.running() as receiver:
            made.run("subscribe", [f"{receiver.url}/healthy/{number}" for number in range(20)], ["order.created"], {})
            urls = [f"http://{number}{end}:{receiver.port}/hang" for number in range(20)]
            bad = made.run("subscribe", urls, ["order.created"], {})
            without: list[float] = []
            beside: list[float] = []
            for _ in range(3):
                for state, figures in (("paused", without), ("active", beside)):
                    made.run("reset_all", bad, state)
                    took = _milliseconds(made, receiver, orders=60, each_seconds=0.125, path="/healthy/")
                    figures.append(_p99(took))
        ratio = statistics.median(one / other for one, other in zip(beside, without, strict=True))
        details = {
            "p99_beside_ms": round(statistics.median(beside)),
            "p99_without_ms": round(statistics.median(without)),
        }
        yield Measure(f"{kind}_p99", ratio, "ratio", 1.5, details={**details, "rounds": 3})


def backlog() -> Iterable[Measure]:
    few, many = 1_000, 1_000_000
    claims, p99s = {}, {}
    for waiting in (few, many):
        with database("postgres") as made, receipts.running() as receiver:
            [busy] = made.run("subscribe", [f"{receiver.url}/busy"], ["order.paid"], {"max_per_second": 5})
            made.run("owe_millions", busy, waiting)
            made.run("subscribe", [f"{receiver.url}/others/{number}" for number in range(5)], ["order.created"], {})
            took = [
                _p99(_milliseconds(made, receiver, orders=100, each_seconds=0.05, path="/others/")) for _ in range(3)
            ]
            p99s[waiting] = statistics.median(took)
            made.run("unlimit", busy)
            claims[waiting] = statistics.median(made.run("claim_times", 200, 50))
    details = {"few_ms": round(claims[few], 2), "many_ms": round(claims[many], 2), "waiting": many}
    yield Measure("backlog_claim", claims[many] / claims[few], "ratio", 1.5, details=details)
    details = {"few_ms": round(p99s[few]), "many_ms": round(p99s[many]), "waiting": many}
    yield Measure("backlog_neighbours_p99", p99s[many] / p99s[few], "ratio", 1.5, details=details)


def _p99(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=100)[98]


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {
    "latency": latency,
    "hanging_neighbour": hanging_neighbour,
    "unanswering_neighbours": unanswering_neighbours,
    "backlog": backlog,
}
