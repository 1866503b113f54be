"""Results on PostgreSQL: lease check, delivery and attempt in one statement.

tests/test_statements.py compares it with the form that it must equal.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections

from orderhooks.models.deliveries import Attempt, Delivery

if TYPE_CHECKING:
    from orderhooks.sending.finishing import Lease, Result

__all__ = ["finish"]

# It may be encrypted.
BODY: Any = Attempt._meta.get_field("response_body")
# Equals `finishing.finish_portably`.
FINISH = """
WITH result AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS result (
        id bigint, token uuid,
        state text, trigger text, requested_by text, next_attempt_at timestamptz, uncounted_attempts int,
        finished_at timestamptz,
        last_status_code int, last_error text, last_detail text, due_by timestamptz,
        number int, attempt jsonb
    )
), held AS MATERIALIZED (
    SELECT delivery.id, delivery.lease_token AS token FROM orderhooks_delivery delivery
    JOIN result ON delivery.id = result.id AND delivery.lease_token = result.token
    WHERE delivery.state = 'sending'
    FOR NO KEY UPDATE OF delivery SKIP LOCKED
), finished AS (
    UPDATE orderhooks_delivery delivery
    SET state = result.state, trigger = result.trigger, requested_by = result.requested_by,
        next_attempt_at = result.next_attempt_at, uncounted_attempts = result.uncounted_attempts, planned_at = NULL,
        finished_at = result.finished_at,
        last_status_code = result.last_status_code, last_error = result.last_error, last_detail = result.last_detail,
        due_by = result.due_by,
        lease_token = NULL, lease_expires_at = NULL
    FROM result JOIN held USING (id, token) WHERE delivery.id = result.id
), attempted AS (
    INSERT INTO orderhooks_attempt (
        delivery_id, number, trigger, requested_by, started_at, duration_ms, method, url, status_code, error, detail,
        request_headers, response_headers, response_body
    )
    SELECT result.id, result.number, attempt.trigger, attempt.requested_by, attempt.started_at, attempt.duration_ms,
        attempt.method, attempt.url, attempt.status_code, attempt.error, attempt.detail, attempt.request_headers,
        attempt.response_headers,
        attempt.response_body
    FROM result JOIN held USING (id, token) CROSS JOIN LATERAL jsonb_to_record(result.attempt) AS attempt (
        trigger text, requested_by text, started_at timestamptz, duration_ms int, method text, url text,
        status_code int, error text, detail text, request_headers jsonb, response_headers jsonb, response_body text
    )
)
SELECT id, token FROM held
"""


def finish(results: "Sequence[Result]") -> "set[Lease]":
    """Write the results whose lease is held and whose row nobody else has locked; returns their leases."""
    rows = [
        {
            "id": result.delivery.pk,
            "token": result.delivery.lease_token,
            "number": result.delivery.attempts_made,
            "attempt": {**result.attempt, "response_body": BODY.get_prep_value(result.attempt["response_body"])},
            **result.delivery_columns(),
        }
        for result in results
    ]
    with connections[Delivery.objects.db].cursor() as cursor:
        cursor.execute(FINISH, [json.dumps(rows, cls=DjangoJSONEncoder)])
        return set(cursor.fetchall())
