"""Counts as text, in the reader's language. Admin, API, commands and e-mails use them."""

from django.utils.formats import number_format

__all__ = ["count_text", "counted"]


def count_text(count: int, *, bound: int | None = None, is_exact: bool = True) -> str:
    """`1,312`; `1,000+` for a count above `bound`, where the counting ended; `312+` for one that is not exact."""
    if bound is not None and count > bound:
        count, is_exact = bound, False
    return number_format(count, force_grouping=True) + ("" if is_exact else "+")


def counted(count: int, one: str, many: str, *, bound: int | None = None) -> str:
    """`1 order`, `1,312 orders`, for texts in English. `many` is the form for all counts but 1."""
    return f"{count_text(count, bound=bound)} {one if count == 1 else many}"
