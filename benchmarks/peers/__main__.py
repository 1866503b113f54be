"""`python -m benchmarks.peers`: prints a JSON object a line, as `python -m benchmarks` does; what it measures is there.

It installs the peers from the package index, so it is no part of `make bench`.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterable

import requests

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

from benchmarks import pace, sink
from benchmarks.databases import go, result
from benchmarks.peers.contestants import CONTESTANTS, Contestant, Peer, Shop
from benchmarks.reporting import Measure

ROUNDS = 3
WARM_UP = 20
LOOK_SECONDS = 0.01
ARRIVE_SECONDS = 180
# For the workers to write down the last results before they are stopped.
WRITE_SECONDS = 1.0


class Arrivals:
    """How many requests have come to the sink, without those that query this count."""

    def __init__(self, receiver: sink.Sink) -> None:
        if receiver.kind != "nginx":
            raise RuntimeError("This benchmark needs nginx, which counts what arrives. Install it.")
        self.url = f"{receiver.http}/total"
        self.session = requests.Session()
        self.asked = 0
        self.waited_for = 0

    def total(self) -> int:
        self.asked += 1
        # The third line of nginx's status: connections accepted, connections handled, requests.
        return int(self.session.get(self.url, timeout=10).text.splitlines()[2].split()[2]) - self.asked

    def wait_for(self, count: int) -> tuple[float, int, float]:
        """Wait for this many more than before: when some had come, how many those were, and when all had.

        Raises RuntimeError if they do not come.
        """
        until = time.monotonic() + ARRIVE_SECONDS
        first, some, came = 0.0, 0, 0
        while (now := time.monotonic()) < until:
            came = self.total() - self.waited_for
            if came and not some:
                first, some = now, came
            if came >= count:
                self.waited_for += count
                return first, some, now
            time.sleep(LOOK_SECONDS)
        raise RuntimeError(f"Of {count} requests {came} came in {ARRIVE_SECONDS} s.")


def orders_per_second(shop: Shop, arrivals: Arrivals, count: int) -> float:
    """From the first save to the last receipt, with workers that wait for work."""
    with shop.workers():
        _place(shop, WARM_UP)
        arrivals.wait_for(WARM_UP)
        placing = shop.place_orders(count)
        go(placing)
        _first, _some, last = arrivals.wait_for(count)
        began = shop.began(result(placing))
        time.sleep(WRITE_SECONDS)
    return count / (last - began)


def drained_per_second(shop: Shop, arrivals: Arrivals, count: int) -> float:
    """From the first receipt to the last, of orders that were saved before there was a worker."""
    _place(shop, count)
    with shop.workers():
        first, some, last = arrivals.wait_for(count)
        time.sleep(WRITE_SECONDS)
    return (count - some) / (last - first)


def _place(shop: Shop, count: int) -> None:
    placing = shop.place_orders(count)
    go(placing)
    result(placing)


def measures() -> Iterable[Measure]:
    orders: dict[str, list[float]] = {one.name: [] for one in CONTESTANTS}
    drained: dict[str, list[float]] = {one.name: [] for one in CONTESTANTS}
    for number in range(ROUNDS):
        turn = number % len(CONTESTANTS)
        for contestant in (*CONTESTANTS[turn:], *CONTESTANTS[:turn]):
            with sink.running() as receiver, contestant.opened(f"{receiver.http}/") as shop:
                arrivals = Arrivals(receiver)
                orders[contestant.name].append(orders_per_second(shop, arrivals, contestant.orders))
                drained[contestant.name].append(drained_per_second(shop, arrivals, contestant.orders))
    for contestant in CONTESTANTS:
        yield _measure(contestant, orders[contestant.name], drained[contestant.name])
    # As many processes as theirs have.
    ours = drained["orderhooks_two_processes"]
    peers = {one.name: drained[one.name] for one in CONTESTANTS if isinstance(one, Peer)}
    best = [max(rates) for rates in zip(*peers.values(), strict=True)]
    ratios = [one / other for one, other in zip(ours, best, strict=True)]
    details = {
        "fastest_peer": max(peers, key=lambda name: statistics.median(peers[name])),
        "lowest": round(min(ratios), 1),
        "highest": round(max(ratios), 1),
        "rounds": ROUNDS,
    }
    yield Measure("drain_two_processes_against_peers", statistics.median(ratios), "ratio", 15, "higher", details)


def _measure(contestant: Contestant, orders: list[float], drained: list[float]) -> Measure:
    details = {
        "orders_to_receipts_per_second": round(statistics.median(orders)),
        "lowest": round(min(drained)),
        "highest": round(max(drained)),
        "rounds": ROUNDS,
        "orders": contestant.orders,
        "workers": contestant.workers,
        "version": contestant.version,
    }
    return Measure(f"drain_{contestant.name}", statistics.median(drained), "deliveries/s", 0, "higher", details)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--no-fail", action="store_true", help="status 0 whatever the figures are")
    arguments = parser.parse_args()
    # So that what runs is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ok = True
    with sink.running() as receiver:
        before = pace.per_second(receiver.http)
        found = list(measures())
        loop_per_second = (before + pace.per_second(receiver.http)) / 2
    for measure in (one.at_pace(loop_per_second) for one in found):
        print(measure.line(), flush=True)
        ok &= measure.ok
    return 0 if ok or arguments.no_fail else 1


if __name__ == "__main__":
    sys.exit(main())
