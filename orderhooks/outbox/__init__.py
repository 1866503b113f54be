"""The outbox: captures what a save changed, in its transaction, and coalesces a transaction's changes into events.

`signal_handlers` and `publishing` call it in the store's process; the pump calls it for what a process that died left
behind. See Note [Changes and transactions].
"""

from orderhooks.outbox.capturing import after_save, before_save, save_atomically
from orderhooks.outbox.coalescing import coalesce
from orderhooks.outbox.deletions import before_delete
from orderhooks.outbox.explicit import capture_difference, capture_explicit, capture_missed_deletion
from orderhooks.outbox.guarding import can_capture, guarded
from orderhooks.outbox.left_behind import (
    LEFT_BEHIND_AFTER,
    MAX_COALESCE_ATTEMPTS,
    coalesce_left_behind,
    is_anything_left_behind,
)
from orderhooks.outbox.republishing import republish
from orderhooks.outbox.tracking import Tracking, track
from orderhooks.outbox.transaction_batch import coalesce_here, coalesce_now

__all__ = [
    "LEFT_BEHIND_AFTER",
    "MAX_COALESCE_ATTEMPTS",
    "Tracking",
    "after_save",
    "before_delete",
    "before_save",
    "can_capture",
    "capture_difference",
    "capture_explicit",
    "capture_missed_deletion",
    "coalesce",
    "coalesce_here",
    "coalesce_left_behind",
    "coalesce_now",
    "guarded",
    "is_anything_left_behind",
    "republish",
    "save_atomically",
    "track",
]
