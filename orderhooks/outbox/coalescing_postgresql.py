"""Coalescing on PostgreSQL: an order's changes give way to the events that they make, in one statement.

Events are passed as JSON: in an INSERT that Django makes of several rows, psycopg takes longest to quote payloads. They
are published when they are inserted, by the database's clock: see `EventQuerySet.feed`.
tests/test_statements.py holds it against the form that it must equal.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from orderhooks.db import json_rows
from orderhooks.models import Change, Event

__all__ = ["insert", "replace"]

REPLACED = (
    "public_id",
    "topic",
    "source",
    "order_pk",
    "order_number",
    "store",
    "payload",
    "api_version",
    "changes",
    "error",
    "traceparent",
)
# The columns that may be encrypted.
ENCRYPTED: dict[str, Any] = {name: Event._meta.get_field(name) for name in ("payload", "changes")}
COLUMNS = ", ".join((*REPLACED, "occurred_at", "published_at"))
VALUES = ", ".join((*REPLACED, "occurred_at", "CASE WHEN error = '' THEN inserted_at END"))
# What JSON gives of each event.
GIVEN = """
    public_id text, topic text, source text, order_pk text, order_number text, store text, payload jsonb,
    api_version text, changes jsonb, error text, traceparent text
"""
# Equals `coalescing.replace_portably`.
REPLACE = f"""
WITH taken AS (
    DELETE FROM orderhooks_change
    WHERE id IN (
            SELECT id FROM orderhooks_change
            WHERE source = %(source)s AND order_pk = %(order_pk)s ORDER BY id FOR UPDATE
        )
        AND (
            SELECT array_agg(id ORDER BY id) FROM orderhooks_change
            WHERE source = %(source)s AND order_pk = %(order_pk)s
        ) = %(changes)s::bigint[]
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    RETURNING created_at
), counted AS (
    SELECT count(*) AS taken, max(created_at) AS occurred_at, clock_timestamp() AS inserted_at FROM taken
), made AS (
    INSERT INTO orderhooks_event ({COLUMNS})
    SELECT {VALUES}
    FROM counted, ROWS FROM (jsonb_to_recordset(%(events)s::jsonb) AS ({GIVEN})) WITH ORDINALITY
    WHERE taken = cardinality(%(changes)s::bigint[])
    ORDER BY ordinality
    RETURNING public_id, sequence, occurred_at, published_at
)
SELECT taken, public_id, sequence, made.occurred_at, published_at FROM counted LEFT JOIN made ON true
"""  # noqa: S608 - made of constants
# Equals `bulk_create`, for what REPLACED names: events that have not been routed.
INSERT = f"""
INSERT INTO orderhooks_event ({COLUMNS})
SELECT {VALUES}
FROM statement_timestamp() AS inserted_at,
    ROWS FROM (jsonb_to_recordset(%(events)s::jsonb) AS ({GIVEN}, occurred_at timestamptz)) WITH ORDINALITY
ORDER BY ordinality
RETURNING public_id, sequence, published_at
"""  # noqa: S608 - made of constants


def insert(events: Sequence[Event], *, using: str) -> None:
    """What `Event.objects.bulk_create(events)` does with those that coalescing makes.

    Their `sequence` grows in the order given.
    """
    if not events:
        return
    by_id = {event.public_id: event for event in events}
    with connections[using].cursor() as cursor:
        for rows in json_rows.arrays(_row(event, *REPLACED, "occurred_at") for event in events):
            cursor.execute(INSERT, {"events": rows})
            for public_id, sequence, published_at in cursor.fetchall():
                _is_there(by_id[public_id], sequence, published_at, using=using)


def replace(changes: Sequence[Change], events: Sequence[Event], *, using: str) -> bool:
    """Insert the events that these changes of one order make, and delete the changes.

    False, with nothing done, if there are other changes of the order, or some of these are gone. See Note [No wait for
    the disk].
    """
    rows = ",".join(_row(event, *REPLACED) for event in events)
    keys = sorted(change.pk for change in changes)
    values: dict[str, Any] = {
        "source": changes[0].source,
        "order_pk": changes[0].order_pk,
        "changes": keys,
        "events": f"[{rows}]",
    }
    with connections[using].cursor() as cursor:
        cursor.execute(REPLACE, values)
        made = cursor.fetchall()
    if made[0][0] != len(keys):
        return False
    inserted = {public_id: times for _taken, public_id, *times in made}
    for event in events:
        sequence, event.occurred_at, published_at = inserted[event.public_id]
        _is_there(event, sequence, published_at, using=using)
    return True


def _is_there(event: Event, sequence: int, published_at: datetime | None, *, using: str) -> None:
    event.sequence, event.published_at = sequence, published_at
    event._state.adding, event._state.db = False, using


def _row(event: Event, *names: str) -> str:
    return json.dumps({name: _as_json(name, getattr(event, name)) for name in names})


def _as_json(name: str, value: Any) -> Any:
    """The value as its column keeps it."""
    if name in ENCRYPTED:
        return ENCRYPTED[name].get_prep_value(value)
    return value.isoformat() if isinstance(value, datetime) else value
