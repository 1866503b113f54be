"""Ids that leave the database: a prefix that names the record, then a ULID, so that they sort by time.

Source: https://github.com/ulid/spec
"""

import os
import time
from datetime import UTC, datetime

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MAX_LENGTH = 4 + 26


def new_id(prefix: str) -> str:
    """`evt_01K…`: 48 bits of Unix milliseconds and 80 random ones in 26 characters of Crockford's base 32."""
    return _written(prefix, int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big"))


def earliest_at(prefix: str, at: datetime) -> str:
    """The lowest id of that time: ids made then or later are not below it."""
    return _written(prefix, max(0, int(at.timestamp() * 1000)) << 80)


def time_of(public_id: str) -> datetime:
    """When an id was made, to the millisecond."""
    milliseconds = 0
    for character in public_id[-26:-16]:
        milliseconds = milliseconds << 5 | ALPHABET.index(character)
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _written(prefix: str, number: int) -> str:
    return prefix + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def order_id() -> str:
    return new_id("ord_")


def event_id() -> str:
    return new_id("evt_")


def subscription_id() -> str:
    return new_id("sub_")


def delivery_id() -> str:
    return new_id("dlv_")


def replay_id() -> str:
    return new_id("rpl_")


def backfill_id() -> str:
    return new_id("bfl_")


def consumer_id() -> str:
    return new_id("csm_")


def erasure_id() -> str:
    return new_id("ers_")
