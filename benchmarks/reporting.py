"""What a benchmark found, held against its bar: one JSON object a line. Made by each benchmark, printed by __main__."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.pace import REFERENCE

# How a unit changes on a machine that is twice as fast.
FASTER = {"ms": -1, "deliveries/s": 1}


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and the bar that it has to keep: not above it if lower is better, not below it if higher is.

    `details` stand behind it on the same line and decide nothing. A time or a rate is scaled to the reference machine
    by what a plain loop made around it, `loop_per_second`, and the bar is held against that.
    """

    name: str
    value: float
    unit: str
    bar: float
    better: Literal["lower", "higher"] = "lower"
    details: Mapping[str, object] = field(default_factory=dict)
    loop_per_second: float | None = None

    @property
    def scaled(self) -> float | None:
        """The value as the reference machine would have it. None for what has no pace, such as a ratio."""
        if self.unit not in FASTER or self.loop_per_second is None:
            return None
        return float(self.value * (REFERENCE / self.loop_per_second) ** FASTER[self.unit])

    @property
    def ok(self) -> bool:
        judged = self.value if self.scaled is None else self.scaled
        return judged <= self.bar if self.better == "lower" else judged >= self.bar

    def at_pace(self, loop_per_second: float) -> "Measure":
        return dataclasses.replace(self, loop_per_second=loop_per_second)

    def line(self) -> str:
        figures = {"name": self.name, "value": round(self.value, 3), "unit": self.unit, "bar": self.bar, "ok": self.ok}
        if self.loop_per_second is not None and self.scaled is not None:
            figures |= {"scaled": round(self.scaled, 3), "loop_per_second": round(self.loop_per_second)}
        return json.dumps({**figures, **self.details}, allow_nan=False)
