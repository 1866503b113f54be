"""A delivery log of any length, as a shop has it after 90 days, by default of 200 subscriptions; made by PostgreSQL."""

from django.db import connection

from orderhooks.models import Subscription

SUBSCRIPTIONS = 200
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _id(prefix: str) -> str:
    """SQL for a public id of the time in the column `made_at`."""
    milliseconds = "(extract(epoch FROM made_at) * 1000)::bigint"
    digits = [f"substr('{ALPHABET}', ({milliseconds} >> {shift} & 31)::int + 1, 1)" for shift in range(45, -1, -5)]
    return " || ".join([f"'{prefix}'", *digits, "upper(substr(md5(random()::text), 1, 16))"])


# One topic in a thousand is rare, one came only in the first tenth of the time.
EVENTS = f"""
INSERT INTO orderhooks_event (public_id, topic, source, order_pk, order_number, store, payload, changes, error,
    occurred_at, published_at, routed_at)
SELECT {_id("evt_")}, topic, 'orderhooks', (number / 3)::text, (1000 + number / 3)::text, '',
    jsonb_build_object('order', jsonb_build_object('number', number, 'note', repeat('x', 300))), '{{}}', '',
    made_at, made_at, made_at
FROM (
    SELECT number, now() - interval '90 days' * (1 - number::float / %(events)s) AS made_at,
        CASE WHEN number %% 1000 = 0 THEN 'order.returned'
            WHEN number <= %(events)s / 10 AND number %% 3 = 0 THEN 'order.voided'
            ELSE (ARRAY['order.created', 'order.updated', 'order.paid', 'order.fulfilled', 'order.closed'])
                [1 + number %% 5]
        END AS topic
    FROM generate_series(1, %(events)s) number
) made ORDER BY number
"""
# Each event goes to four subscriptions, one of which gets all. In the first tenth of the time receivers responded with
# 404 for a while.
DELIVERIES = f"""
INSERT INTO orderhooks_delivery (public_id, event_id, subscription_id, state, trigger, requested_by, attempts_made,
    next_attempt_at, last_status_code, last_error, last_detail, created_at, finished_at)
SELECT {_id("dlv_")}, sequence,
    subscriptions[CASE turn WHEN 0 THEN 1 ELSE 2 + (sequence * 37 + turn * 66) %% %(others)s END], state,
    'automatic', '',
    CASE state WHEN 'pending' THEN 3 WHEN 'failed' THEN 10 WHEN 'skipped' THEN 0 ELSE 1 END,
    CASE state WHEN 'pending' THEN now() + interval '4 hours' END,
    CASE WHEN state = 'delivered' THEN 200 WHEN state = 'skipped' OR chance < 0.005 THEN NULL
        WHEN early THEN 404 ELSE 503 END,
    CASE WHEN state IN ('delivered', 'skipped') THEN '' WHEN chance < 0.005 THEN 'timeout' ELSE 'status' END,
    '', made_at, CASE WHEN state <> 'pending' THEN made_at END
FROM (
    SELECT *, CASE WHEN chance < 0.1 OR early AND chance < 0.3 THEN 'failed' WHEN chance < 0.12 THEN 'pending'
        WHEN chance < 0.13 THEN 'skipped' ELSE 'delivered' END AS state
    FROM (
        SELECT sequence, turn, random() AS chance, occurred_at AS made_at,
            sequence <= (SELECT min(sequence) + count(*) / 10 FROM orderhooks_event) AS early,
            (SELECT array_agg(id ORDER BY id) FROM orderhooks_subscription) AS subscriptions
        FROM orderhooks_event CROSS JOIN generate_series(0, 3) turn
    ) thrown
) delivered ORDER BY sequence, turn
"""
ATTEMPTS = """
INSERT INTO orderhooks_attempt (delivery_id, number, trigger, requested_by, started_at, duration_ms, method, url,
    status_code, error, detail, request_headers, response_headers, response_body)
SELECT id, number, 'automatic', '', created_at, 12, 'POST', 'https://example.com/', last_status_code, last_error, '',
    '{"webhook-id": "evt_"}', '{"server": "nginx"}', 'thanks'
FROM orderhooks_delivery CROSS JOIN LATERAL generate_series(1, attempts_made) number
WHERE state <> 'delivered' OR id % 3 = 0
"""


def fill_log(deliveries: int, subscriptions: int = SUBSCRIPTIONS) -> None:
    """This many deliveries of a quarter as many events."""
    for number in range(subscriptions):
        Subscription.create_with_secret(
            name=f"Endpoint {number}", url=f"https://receiver.example/{number}", topics=["*"]
        )
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, {"events": deliveries // 4})
        cursor.execute(DELIVERIES, {"others": subscriptions - 1})
        cursor.execute(ATTEMPTS)
        cursor.execute("VACUUM ANALYZE")
