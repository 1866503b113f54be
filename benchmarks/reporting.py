"""What a benchmark found, held against its bar: one JSON object a line. Made by each benchmark, printed by __main__."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and the bar that it has to keep: not above it if lower is better, not below it if higher is.

    `details` stand behind it on the same line and decide nothing.
    """

    name: str
    value: float
    unit: str
    bar: float
    better: Literal["lower", "higher"] = "lower"
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar

    def line(self) -> str:
        figures = {"name": self.name, "value": round(self.value, 3), "unit": self.unit, "bar": self.bar, "ok": self.ok}
        return json.dumps({**figures, **self.details}, allow_nan=False)
