"""What the benchmarks' processes share: the payload, a pump's turn, and waiting for the parent's word."""

import sys

from benchmarks.databases import READY
from orderhooks import pumping

__all__ = ["PAYLOAD", "make_turn", "wait_for_go"]

# Such that a body is 1.4 KB.
PAYLOAD = {"order": {"number": "1001", "total": "24.80", "note": "x" * 1150}, "changes": {}}


def wait_for_go() -> None:
    """Say that everything is loaded, and wait for `databases.go`."""
    print(READY, end="", flush=True)
    sys.stdin.readline()


def make_turn() -> pumping.Turn:
    """A turn beside which nothing else is to be done."""
    return pumping.Turn(other_work=lambda: False, notices_due=lambda: None)
