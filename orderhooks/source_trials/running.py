"""Run trials: load the sources of the setting SOURCES, and collect the faults that trials find in them.

A source is the store's own code. Whatever it raises becomes a fault with a sentence, never a traceback.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string

from orderhooks import conf, json_schema
from orderhooks.models import Event
from orderhooks.sources import OrderSource

__all__ = ["Fault", "Faults", "Trial", "load", "misfit", "most_characters", "run", "source_paths"]

MOST_MISFITS = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a source, which is named by its dotted path: a sentence, and the remedy. Blank: of no source.

    `check_id` is the id of the system check without the prefix `orderhooks.`, such as E042.
    """

    source: str
    check_id: str
    text: str
    remedy: str

    @property
    def is_error(self) -> bool:
        """Whether the source can't be used as it is. Otherwise it is a warning."""
        return self.check_id.startswith("E")


Faults = Iterator[Fault]
Trial = Callable[[str, OrderSource], Faults]


def source_paths() -> Sequence[str]:
    """The dotted paths of the setting SOURCES; empty if the setting is not a list, which another check reports."""
    if not isinstance(conf.raw(), Mapping):
        return []
    paths = conf.current().sources
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list | tuple) else []


def load(path: str) -> tuple[list[Fault], OrderSource | None]:
    """Import and create a source. Returns the source, or the faults that prevent it."""
    try:
        cls = import_string(path)
    except ImportError as error:
        return [Fault(path, "E048", f"It can't be imported ({error}).", "Give the path of an OrderSource class.")], None
    except Exception as error:
        return [Fault(path, "E048", f"Its module raises {_describe(error)}.", "Fix the module.")], None
    if not (isinstance(cls, type) and issubclass(cls, OrderSource)):
        remedy = "Make it a subclass of orderhooks.sources.OrderSource."
        return [Fault(path, "E048", "It is not an OrderSource class.", remedy)], None
    try:
        return [], cls()
    except Exception as error:
        remedy = "Let __init__ work without arguments and without the database."
        return [Fault(path, "E048", f"It can't be created: it raises {_describe(error)}.", remedy)], None


def run(path: str, source: OrderSource, trials: Sequence[tuple[str, str, Trial]]) -> list[Fault]:
    """The faults of the first trial that finds any. Later trials would only repeat them.

    `trials`: the check id, the name of what is tried, and the trial.
    """
    for check_id, what, trial in trials:
        try:
            found = list(trial(path, source))
        except Exception as error:
            found = [Fault(path, check_id, f"Its {what} raises {_describe(error)}.", f"Fix its {what}.")]
        if found:
            return found
    return []


def misfit(path: str, check_id: str, text: str, value: Any, schema: Any) -> Faults:
    """A fault if `value` does not fit the schema. `text` begins the sentence. Raises what json.dumps raises."""
    as_json = json.loads(json.dumps(value, allow_nan=False))
    found = list(json_schema.misfits(as_json, schema))
    if found:
        more = f" and {len(found) - MOST_MISFITS} more" if len(found) > MOST_MISFITS else ""
        yield Fault(path, check_id, f"{text}: {'; '.join(found[:MOST_MISFITS])}{more}.", "Change one of them.")


def most_characters(column: str) -> int:
    """The most characters that a column of the table of events can hold."""
    try:
        return Event._meta.get_field(column).max_length or 1_000_000  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return 1_000_000


def _describe(error: Exception) -> str:
    # The sentence that it ends has a full stop of its own.
    return f"{type(error).__name__}: {error}"[:300].replace("\n", " ").rstrip(".")
