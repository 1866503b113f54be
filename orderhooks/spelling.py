"""Spelling: which known name was meant by one that is not known. For every "did you mean"."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

# Of difflib's ratio. "ulr" and "url" are as alike as "date" and "state": few mistype the first letter.
ALIKE = 0.85
ALIKE_WITH_ONE_INITIAL = 0.65


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is so close that a typing error may be the only difference; None if there is none."""
    for one in get_close_matches(name, known, cutoff=ALIKE_WITH_ONE_INITIAL):
        # The last part by itself too: a family that both share makes "order.foo" resemble "order.paid".
        if _are_alike(name, one) and _are_alike(name.rpartition(".")[2], one.rpartition(".")[2]):
            return one
    return None


def _are_alike(one: str, other: str) -> bool:
    least = ALIKE_WITH_ONE_INITIAL if one[:1] == other[:1] else ALIKE
    return SequenceMatcher(None, one, other).ratio() >= least
