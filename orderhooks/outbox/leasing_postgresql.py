"""Leases of changes on PostgreSQL, by one statement.

tests/test_statements.py holds it against the form that it must equal. See Note [No wait for the disk] in
`taking_postgresql`.
"""

from datetime import datetime

from orderhooks.compiled_queries import columns_of, instances
from orderhooks.models import Change

__all__ = ["lease"]

# Equals `leasing.lease_portably`.
LEASE = f"""
UPDATE orderhooks_change SET coalesce_attempts = coalesce_attempts + 1, lease_expires_at = %(until)s
WHERE id = ANY(ARRAY(
        SELECT id FROM orderhooks_change
        WHERE (lease_expires_at IS NULL OR lease_expires_at <= %(now)s)
            AND (%(before)s::timestamptz IS NULL OR is_raw OR created_at < %(before)s)
        ORDER BY id LIMIT %(at_most)s FOR UPDATE SKIP LOCKED
    ))
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING {columns_of(Change, "orderhooks_change")}
"""  # noqa: S608 - made of constants


def lease(*, before: datetime | None, now: datetime, until: datetime, at_most: int, using: str) -> list[Change]:
    """What `leasing.lease` says."""
    parameters = {"before": before, "now": now, "until": until, "at_most": at_most}
    return sorted(instances(Change, LEASE, parameters, using=using), key=lambda change: change.pk)
