"""The outbox: captures what a save changed, in its transaction, and coalesces a transaction's changes into events.

`publishing` calls it in the store's process, the pump calls it for what a process that died left behind. See
Note [Changes and transactions].
"""

from orderhooks.outbox.coalescing import (
    LEFT_BEHIND_AFTER,
    MAX_COALESCE_ATTEMPTS,
    coalesce,
    coalesce_left_behind,
    coalesce_many,
    republish,
)
from orderhooks.outbox.deleting import note_deletions
from orderhooks.outbox.guarding import can_capture, guarded, mark_missed
from orderhooks.outbox.net_changes import NetChange, net_change
from orderhooks.outbox.noting import (
    Note,
    Stored,
    anyone_listens,
    describe,
    note_change,
    note_explicit,
    read_after,
    read_before,
)

__all__ = [
    "LEFT_BEHIND_AFTER",
    "MAX_COALESCE_ATTEMPTS",
    "NetChange",
    "Note",
    "Stored",
    "anyone_listens",
    "can_capture",
    "coalesce",
    "coalesce_left_behind",
    "coalesce_many",
    "describe",
    "guarded",
    "mark_missed",
    "net_change",
    "note_change",
    "note_deletions",
    "note_explicit",
    "read_after",
    "read_before",
    "republish",
]
