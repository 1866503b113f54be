"""What is about databases and about no table: clocks, locks, wake-ups, indexes, ids."""

from orderhooks.db.clock import DatabaseClock, DatabaseNow
from orderhooks.db.wakeup import Wakeup

__all__ = ["DatabaseClock", "DatabaseNow", "Wakeup"]
