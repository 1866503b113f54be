"""Progress as commands show it."""

__all__ = ["bar"]

BAR_CHARACTERS = 30


def bar(share: float, text: str) -> str:
    """`[=====     ]  50 %  120 deliveries`. `share` is from 0 to 1."""
    filled = "=" * round(share * BAR_CHARACTERS)
    return f"[{filled:{BAR_CHARACTERS}}] {share:4.0%}  {text}"
