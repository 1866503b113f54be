"""Operators: who is at the command line, as the log tells of them."""

import getpass

__all__ = ["current"]


def current() -> str:
    """`ada at the command line`."""
    try:
        return f"{getpass.getuser()} at the command line"
    except (KeyError, OSError):
        return "the command line"
