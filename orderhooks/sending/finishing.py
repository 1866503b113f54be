"""Finishing: an attempt's result is written to its delivery and its attempt, if the claim's lease is still held."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections, transaction

from orderhooks.db.locks import locked_if_free
from orderhooks.models.deliveries import Attempt, Delivery
from orderhooks.sending import finishing_postgresql
from orderhooks.sending.claiming import keys_by_token

__all__ = ["Lease", "Result", "finish", "finish_portably"]


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt changes: columns of the delivery, and those of the attempt without its delivery and number."""

    delivery: Delivery
    state: str
    trigger: str
    requested_by: str
    next_attempt_at: datetime | None
    uncounted_attempts: int
    finished_at: datetime | None
    last_status_code: int | None
    last_error: str
    last_detail: str
    due_by: datetime | None
    attempt: Mapping[str, Any] = field(repr=False)

    @property
    def lease(self) -> "Lease":
        """Identifies one claim. A worker that was suspended may hold results of two claims of the same delivery."""
        return self.delivery.pk, self.delivery.lease_token

    def delivery_columns(self) -> dict[str, Any]:
        """What is written to the delivery, by column."""
        return {name: getattr(self, name) for name in DELIVERY_COLUMNS}


# A delivery's primary key and the token of one claim of it.
Lease = tuple[int, uuid.UUID | None]

DELIVERY_COLUMNS = (
    "state",
    "trigger",
    "requested_by",
    "next_attempt_at",
    "uncounted_attempts",
    "finished_at",
    "last_status_code",
    "last_error",
    "last_detail",
    "due_by",
)


def finish(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Write each result whose lease is still held.

    Returns the results that were written, and those to try again later because another session has locked their row.
    The rest came too late: their lease has run out, and another worker has the delivery.
    """
    if not results:
        return [], []
    write = finishing_postgresql.finish if connections[Delivery.objects.db].vendor == "postgresql" else finish_portably
    written = write(results)
    done = [result for result in results if result.lease in written]
    if len(done) == len(results):
        return done, []
    missing = [result for result in results if result.lease not in written]
    held = _held([result.delivery for result in missing])
    return done, [result for result in missing if result.lease in held]


def finish_portably(results: Sequence[Result]) -> set[Lease]:
    """`finish` for any database; returns the leases of the results that were written."""
    with transaction.atomic(using=Delivery.objects.db):
        written = _held([result.delivery for result in results], lock=True)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for result in results:
            if result.lease in written:
                alike.setdefault(tuple(result.delivery_columns().values()), []).append(result.delivery.pk)
        for columns, keys in alike.items():
            Delivery.objects.filter(pk__in=keys).update(
                lease_token=None,
                lease_expires_at=None,
                planned_at=None,
                **dict(zip(DELIVERY_COLUMNS, columns, strict=True)),
            )
        Attempt.objects.bulk_create(
            Attempt(delivery=result.delivery, number=result.delivery.attempts_made, **result.attempt)
            for result in results
            if result.lease in written
        )
    return written


def _held(deliveries: Sequence[Delivery], *, lock: bool = False) -> set[Lease]:
    held: set[Lease] = set()
    for token, keys in keys_by_token(deliveries).items():
        rows = Delivery.objects.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token)
        if lock:
            rows = locked_if_free(rows)
        held.update((pk, token) for pk in rows.values_list("pk", flat=True))
    return held
