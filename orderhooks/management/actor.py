"""The actor of a command: the system user that runs it, as the delivery log names them."""

import getpass

__all__ = ["current"]


def current() -> str:
    """The system user's name: `ada at the command line`; `the command line` if the system has no name for the user."""
    try:
        return f"{getpass.getuser()} at the command line"
    except (KeyError, OSError):
        return "the command line"
