"""Faults: what a trial of an order source finds, and how trials are run one after the other."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orderhooks import json_schema
from orderhooks.sources import OrderSource

__all__ = ["Fault", "Faults", "Trial", "error_text", "faults_of", "misfits"]

MOST_MISFITS = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a source (its dotted path), in a sentence, and what to do. `check_id` tells the kind."""

    source: str
    check_id: str
    text: str
    remedy: str


Faults = Iterator[Fault]


Trial = Callable[[str, OrderSource], Faults]


def faults_of(path: str, source: OrderSource, trials: "Sequence[tuple[str, str, Trial]]") -> list[Fault]:
    """Each trial's faults, up to the first trial that finds some: what comes after would only repeat them."""
    for check_id, what, trial in trials:
        try:
            found = list(trial(path, source))
        except Exception as error:
            found = [Fault(path, check_id, f"Its {what} raises {error_text(error)}.", f"Fix its {what}.")]
        if found:
            return found
    return []


def misfits(path: str, check_id: str, what: str, value: Any, schema: Any) -> Faults:
    """`value` can be written as JSON, and fits the schema."""
    as_json = json.loads(json.dumps(value, allow_nan=False))
    found = list(json_schema.misfits(as_json, schema))
    if found:
        more = f" and {len(found) - MOST_MISFITS} more" if len(found) > MOST_MISFITS else ""
        yield Fault(path, check_id, f"{what}: {'; '.join(found[:MOST_MISFITS])}{more}.", "Change the one or the other.")


def error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300].replace("\n", " ")
