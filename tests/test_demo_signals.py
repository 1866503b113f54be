"""How the demo ends: the first signal ends it, and no other one cuts that short."""

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[1] / "example_project"
# Signals come while the processes are being ended, and right before.
ENDING = """
import signal
from shop import processes

processes.end_on_signals()
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    signal.raise_signal(signal.SIGINT)
    try:
        with processes.signals_held():
            signal.raise_signal(signal.SIGHUP)
            print("ended")
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)
        print("over")
"""


def test_a_second_signal_leaves_no_process_behind() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], cwd=DEMO, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["ended", "over"], "", 0)
