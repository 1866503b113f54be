"""Backfilling: one event for each order that a source has already, for one subscription only.

`operations` plans one, and the pump works on those that run.
"""

from orderhooks.backfilling.batches import process_batch
from orderhooks.backfilling.planning import BackfillError, plan

__all__ = ["BackfillError", "plan", "process_batch"]
