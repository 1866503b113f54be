"""Writing on PostgreSQL: new deliveries, and that their events have theirs, in one statement.

Django takes longer to build the INSERT than PostgreSQL to run it. tests/test_statements.py holds it against the form
that it must equal.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from orderhooks.db import json_rows
from orderhooks.models import Delivery

__all__ = ["write"]

# What routing and merging decide of a delivery. Everything else is as in any new one.
DECIDED = (
    "public_id",
    "event_id",
    "subscription_id",
    "state",
    "next_attempt_at",
    "finished_at",
    "created_at",
    "due_by",
    "is_unjudged",
    "last_error",
    "last_detail",
    "update_due_at",
    "merges_from",
)
# It may be encrypted.
CHANGES: Any = Delivery._meta.get_field("merged_changes")
# Equals `writing.write_portably`.
WRITE = """
WITH routed AS (
    UPDATE orderhooks_event SET routed_at = %(now)s WHERE sequence = ANY(%(events)s::bigint[])
)
INSERT INTO orderhooks_delivery (
    public_id, event_id, subscription_id, state, next_attempt_at, finished_at, created_at, due_by, is_unjudged,
    last_error, last_detail, update_due_at, merges_from, merged_changes, trigger, requested_by, attempts_made
)
SELECT
    public_id, event_id, subscription_id, state, next_attempt_at, finished_at, created_at, due_by, is_unjudged,
    last_error, last_detail, update_due_at, merges_from, merged_changes, 'automatic', '', 0
FROM ROWS FROM (
    jsonb_to_recordset(%(deliveries)s::jsonb) AS (
        public_id text, event_id bigint, subscription_id bigint, state text, next_attempt_at timestamptz,
        finished_at timestamptz, created_at timestamptz, due_by timestamptz, is_unjudged bool, last_error text,
        last_detail text, update_due_at timestamptz, merges_from bigint, merged_changes jsonb
    )
) WITH ORDINALITY
ORDER BY ordinality
ON CONFLICT DO NOTHING
"""


def write(deliveries: Sequence[Delivery], events: Sequence[int], *, now: datetime) -> None:
    """What `writing.write_portably` does."""
    keys = list(events)
    with connections[Delivery.objects.db].cursor() as cursor:
        for rows in json_rows.arrays(map(_row, deliveries)):
            cursor.execute(WRITE, {"deliveries": rows, "events": keys, "now": now})
            keys = []


def _row(delivery: Delivery) -> str:
    changes = CHANGES.get_prep_value(delivery.merged_changes)
    decided = {name: getattr(delivery, name) for name in DECIDED}
    return json.dumps({**decided, "merged_changes": changes}, default=datetime.isoformat)
