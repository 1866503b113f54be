"""Changes taken on PostgreSQL: locked, deleted and returned by one statement.

tests/test_statements.py holds the statements against the form that they must equal.

# Note [No wait for the disk]
The transaction's commit need not wait for the disk. If the machine stops before the commit is written, the deletion is
undone too, and the changes are coalesced again. No event can be sent before: the claim that comes before each request
does wait for the disk, and earlier commits are written first.
"""

from collections.abc import Sequence

from orderhooks.compiled_queries import columns_of, instances
from orderhooks.models import Change

__all__ = ["take"]

# Equals `taking.take_portably`, for one order.
TAKE = f"""
DELETE FROM orderhooks_change
WHERE id IN (SELECT id FROM orderhooks_change WHERE source = %s AND order_pk = %s ORDER BY id FOR UPDATE)
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING {columns_of(Change, "orderhooks_change")}
"""  # noqa: S608 - made of constants
# Equals `taking.take_portably`, for any number of orders.
TAKE_MANY = TAKE.replace("order_pk = %s", "order_pk = ANY(%s)")


def take(source_name: str, order_pks: Sequence[str], *, using: str) -> list[Change]:
    """Delete the orders' changes, and return them, oldest first. See Note [No wait for the disk]."""
    if len(order_pks) == 1:
        rows = instances(Change, TAKE, [source_name, order_pks[0]], using=using)
    else:
        rows = instances(Change, TAKE_MANY, [source_name, list(order_pks)], using=using)
    return sorted(rows, key=lambda change: change.pk)
