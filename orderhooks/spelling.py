"""Spelling: suggest the known name that an unknown one is close to. Used for every "Did you mean"."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

# The least ratios of difflib. "ulr" and "url" are as similar as "date" and "state", but people rarely mistype the first
# letter.
SIMILAR = 0.85
SIMILAR_WITH_SAME_INITIAL = 0.65


def nearest(name: str, known: Iterable[str], *, at_least: float = SIMILAR_WITH_SAME_INITIAL) -> str | None:
    """The known name that differs from `name` by a typing error at most, or None. `at_least`: the ratio of difflib."""
    for one in get_close_matches(name, known, cutoff=at_least):
        # The last part is also compared alone: a shared family makes "order.foo" similar to "order.paid".
        if _are_similar(name, one) and _are_similar(name.rpartition(".")[2], one.rpartition(".")[2]):
            return one
    return None


def _are_similar(one: str, other: str) -> bool:
    least = SIMILAR_WITH_SAME_INITIAL if one[:1] == other[:1] else SIMILAR
    return SequenceMatcher(None, one, other).ratio() >= least
