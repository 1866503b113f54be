"""The outbox: notes what a save did, in its transaction, and folds the notes of a transaction into events.

`publishing` calls it in the store's process, the pump for what a dead process left. See Note [Changes and units].
"""

from orderhooks.outbox.deleting import note_deletions
from orderhooks.outbox.folding import FOLD_TRIES, LEFT_BEHIND_AFTER, fold, fold_left_behind, fold_many, republish
from orderhooks.outbox.guarding import can_capture, guarded, mark_missed
from orderhooks.outbox.net_changes import NetChange, net_change
from orderhooks.outbox.noting import (
    Note,
    Stored,
    anyone_listens,
    describe,
    note_change,
    note_moment,
    read_after,
    read_before,
)

__all__ = [
    "FOLD_TRIES",
    "LEFT_BEHIND_AFTER",
    "NetChange",
    "Note",
    "Stored",
    "anyone_listens",
    "can_capture",
    "describe",
    "fold",
    "fold_left_behind",
    "fold_many",
    "guarded",
    "mark_missed",
    "net_change",
    "note_change",
    "note_deletions",
    "note_moment",
    "read_after",
    "read_before",
    "republish",
]
