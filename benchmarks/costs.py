"""What a delivery costs: seconds of Python and of PostgreSQL for each step of a pump. `calibrating` measures them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["CALIBRATION", "Costs", "Step"]

CALIBRATION = Path(__file__).parent / "calibration.json"


@dataclass(frozen=True, slots=True)
class Step:
    """Processor seconds of a step that works on many rows at once, in Python and in PostgreSQL.

    `each`: for each row; `endpoint`: for each endpoint with something due.
    """

    python: float
    python_each: float
    database: float
    database_each: float
    python_endpoint: float = 0.0
    database_endpoint: float = 0.0

    def python_seconds(self, rows: int, endpoints: int = 0) -> float:
        return self.python + self.python_each * rows + self.python_endpoint * endpoints

    def database_seconds(self, rows: int, endpoints: int = 0) -> float:
        return self.database + self.database_each * rows + self.database_endpoint * endpoints


@dataclass(frozen=True, slots=True)
class Costs:
    """A machine's costs, in seconds if no other unit is named."""

    # Additions of a plain Python loop a second; cores; and when it was measured.
    loop_per_second: int
    cores: int
    measured_at: str
    # Whether there are new events: when there are none.
    look: Step
    # Events routed; `each` is an event that goes to one endpoint.
    route: Step
    claim: Step
    record: Step
    # One request: Python, and the processor time of the receiver of the benchmarks.
    send: float
    receive: float
    # What threads that hand the interpreter over cost for each request: with as few as an endpoint needs that responds
    # at once, and with all 64.
    hand_over: float
    hand_over_many: float
    # How much longer Python takes while all other cores of its host run workers too: 0.25 is a quarter longer.
    crowding: float
    # Until a commit is on the disk; what a save that makes an event costs more than one without orderhooks.
    flush: float
    save_python: float
    save_database: float
    wal_bytes_of_delivery: float
    wal_bytes_of_event: float
    stored_bytes_of_delivery: float

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        steps = {name: Step(**value) for name, value in given.items() if isinstance(value, dict)}
        return cls(**{**given, **steps})

    @classmethod
    def load(cls, path: Path = CALIBRATION) -> Self:
        """Raises FileNotFoundError if `python -m benchmarks.calibrating` was not run."""
        return cls.from_json(json.loads(path.read_text()))

    def save(self, path: Path = CALIBRATION) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def python_of_delivery(self, batch: int) -> float:
        """Python's seconds for a delivery with many threads, and claims and results of `batch` rows."""
        steps = sum(step.python_seconds(batch) for step in (self.claim, self.record)) / batch
        return steps + self.send + self.hand_over_many

    def database_of_delivery(self, batch: int) -> float:
        """PostgreSQL's seconds for a delivery."""
        return sum(step.database_seconds(batch) for step in (self.claim, self.record)) / batch
