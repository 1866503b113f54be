"""Partitions: tables divided on PostgreSQL, so that what is old goes as a table, with its space.

`manage.py orderhooks_partition` divides them; `retention` drops what is old and adds what is to come.

# Note [Divided tables]
Attempts are most of what is stored, and no table refers to them: they are divided by month. Events and deliveries are
divided if that is asked for too. An event goes to a subscription once, over all times, and the index that proves it has
to have the column that divides: so both are divided by the event's sequence, not by time. The ids of deliveries and
attempts are unique by their sequences alone then: nothing refers to them by a foreign key, and no query may be grouped
by them and show other columns.

The table that was there becomes the first partition, as it is; no row is copied. What a store has made on it, such as
a view, would go on with that part alone, so it is refused.

# Note [Order of locks]
Making and dropping a partition lock the tables that foreign keys lead to as well, by themselves too late. So all locks
are taken first, in the order in which workers go on in their transactions: events, deliveries, attempts. Otherwise each
side waits for the other, and PostgreSQL may end the worker's transaction.
"""

from orderhooks.partitions.by_month import Month, add_months, are_used, divide, drop, missing_months, month_of, months
from orderhooks.partitions.by_sequence import (
    DELIVERIES,
    EVENTS,
    Range,
    add_ranges,
    are_ranged,
    divide_by_range,
    drop_deliveries,
    drop_events,
    first_young,
    is_room_left,
    old_ranges,
    ranges,
)
from orderhooks.partitions.dividing import Division, ObstacleError

__all__ = [
    "DELIVERIES",
    "EVENTS",
    "Division",
    "Month",
    "ObstacleError",
    "Range",
    "add_months",
    "add_ranges",
    "are_ranged",
    "are_used",
    "divide",
    "divide_by_range",
    "drop",
    "drop_deliveries",
    "drop_events",
    "first_young",
    "is_room_left",
    "missing_months",
    "month_of",
    "months",
    "old_ranges",
    "ranges",
]
