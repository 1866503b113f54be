"""Counts in words: exact up to a bound, and `1,000+` beyond it."""

from django.utils.formats import number_format

__all__ = ["count_text"]


def count_text(count: int, *, bound: int) -> str:
    """`312`, or `1,000+`."""
    exact = count <= bound
    return number_format(count if exact else bound, force_grouping=True) + ("" if exact else "+")
