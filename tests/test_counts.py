"""Counts as text."""

import pytest
from django.utils import translation

from orderhooks.reporting.counts import count_text, counted


@pytest.mark.parametrize(
    ("count", "bound", "text"),
    [
        (0, None, "0"),
        (999, None, "999"),
        (1_234_567, None, "1,234,567"),
        (999, 1000, "999"),
        (1000, 1000, "1,000"),
        (1001, 1000, "1,000+"),
        (10_001, 10_000, "10,000+"),
    ],
)
def test_a_count_is_exact_up_to_its_bound(count: int, bound: int | None, text: str) -> None:
    assert count_text(count, bound=bound) == text


def test_a_count_that_is_not_exact_says_so() -> None:
    assert count_text(312, is_exact=False) == "312+"


def test_a_count_is_written_as_the_readers_language_writes_it() -> None:
    with translation.override("de"):
        assert count_text(10_001, bound=10_000) == "10.000+"


@pytest.mark.parametrize(("count", "text"), [(0, "0 orders"), (1, "1 order"), (2000, "2,000 orders")])
def test_one_is_no_plural(count: int, text: str) -> None:
    assert counted(count, "order", "orders") == text
