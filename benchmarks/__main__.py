"""`python -m benchmarks [name …]`: runs the benchmarks, prints a JSON object a line; status 1 if one misses its bar."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable

import django

from benchmarks import pace, sink
from benchmarks.reporting import Measure


def benchmarks() -> dict[str, Callable[[], Iterable[Measure]]]:
    """All by name, in the order in which they run. Another module's `BENCHMARKS` are added here."""
    from benchmarks import (
        capacity,
        capturing,
        choosing,
        drains,
        neighbours,
        reconciliation,
        saving,
        transport,
    )

    modules = (
        transport,
        saving,
        capturing,
        reconciliation,
        drains,
        choosing,
        neighbours,
        capacity,
    )
    return {name: benchmark for module in modules for name, benchmark in module.BENCHMARKS.items()}


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(known)}; all if none is given")
    parser.add_argument("--no-fail", action="store_true", help="status 0 whatever the figures are")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(known)}")
    # So that a sink that runs is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ok = True
    with sink.running() as receiver:
        before = pace.per_second(receiver.http)
        for name in arguments.names or known:
            measures = list(known[name]())
            after = pace.per_second(receiver.http)
            for measure in (one.at_pace((before + after) / 2) for one in measures):
                print(measure.line(), flush=True)
                ok &= measure.ok
            before = after
    return 0 if ok or arguments.no_fail else 1


if __name__ == "__main__":
    sys.exit(main())
