"""Where the time of an order goes, from the beginning of its save to the receipt. `traced` notes the times."""

import bisect
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["STAGES", "medians_ms", "stages_of"]

# save: its own statements, capturing, coalescing, the notification. wake: until the pump looks. route, claim: their
# statements. begin: until a thread has the delivery. request: until the receiver has it.
STAGES = ("save", "wake", "route", "claim", "begin", "request")

# When something began and ended.
Span = Sequence[float]


def stages_of(saved: Span, traced: Mapping[str, Any], event: str, received_at: float) -> dict[str, float] | None:
    """Seconds of each stage of an event, of which they are the whole time; None if it was not sent by itself.

    `saved`: when its save began and when it ended, with a pump notified; `traced`: what `pump_traced` returned.
    """
    began, ended = saved
    sent_at = traced["attempts"][event]
    claim = _last(traced["claims"], sent_at)
    route = _last(traced["routes"], claim[1]) if claim else None
    if claim is None or route is None or route[1] < ended:
        return None
    times = [began, ended, route[0], route[1], claim[1], sent_at, received_at]
    return {stage: after - before for stage, before, after in zip(STAGES, times, times[1:], strict=False)}


def _last(spans: Sequence[Span], at: float) -> Span | None:
    """The last that ended before this time."""
    place = bisect.bisect_right(spans, at, key=lambda span: span[1])
    return spans[place - 1] if place else None


def medians_ms(stages: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each stage, in milliseconds."""
    found = list(stages)
    return {stage: round(statistics.median(one[stage] for one in found) * 1e3, 2) for stage in STAGES}
