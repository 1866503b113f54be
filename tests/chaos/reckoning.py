"""The reckoning: the receiver's ledger against the database. Nothing may be lost; each duplicate must have a cause."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orderhooks import topics
from tests.chaos.ledger import Entry
from tests.chaos.sites import Site

# Why more than one request of an event may have got 2xx.
KILLED = "killed before it was written down"
LEASE = "lease ran out"
REDELIVERED = "redelivered"
# On a busy machine the sender may give up a response that is on its way: in any row, but seldom.
TOO_LATE = "response after the deadline"
SELDOM = 50
BROKEN = "connection broke"
WORKER_LOST = "The worker died or hung"


@dataclass
class Account:
    """A row of the table that ends the suite."""

    committed: int = 0
    sent: int = 0
    received: int = 0
    lost: int = 0
    duplicates: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Books:
    """What the database says, in dicts."""

    orders: Mapping[str, str]
    events: Sequence[Mapping[str, Any]]
    subscriptions: Mapping[int, Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    # By delivery and number.
    attempts: Mapping[int, Mapping[int, Mapping[str, Any]]]

    @classmethod
    def read(cls, report: Mapping[str, list[list[Any]]]) -> "Books":
        attempts: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        for delivery, number, trigger, status, error, detail in report["attempts"]:
            attempts[delivery][number] = {"trigger": trigger, "status": status, "error": error, "detail": detail}
        return cls(
            dict(report["orders"]),
            [
                dict(zip(("key", "id", "topic", "order", "published", "error"), row, strict=True))
                for row in report["events"]
            ],
            {
                row[0]: dict(zip(("key", "topics", "state", "reason"), row, strict=True))
                for row in report["subscriptions"]
            },
            [
                dict(zip(("key", "event", "subscription", "state", "attempts"), row, strict=True))
                for row in report["deliveries"]
            ],
            attempts,
        )


def reckon(
    site: Site,
    entries: Sequence[Entry],
    *,
    causes: Collection[str] = (),
    ends: Mapping[int, Collection[str]] | None = None,
    unpublished: int = 0,
    pruned: bool = False,
) -> Account:
    """Compare. Fails with all that does not fit.

    `causes` may explain duplicates; `ends` are the states in which a subscription's deliveries may be at the end, other
    than delivered; `unpublished` events have no payload. `pruned`: what was delivered may be gone from the database.
    """
    books = Books.read(site.shop.call("report"))
    account = Account(committed=len(books.orders), sent=sum(map(len, books.attempts.values())), received=len(entries))
    ends = ends or {}
    known = {event["id"]: event for event in books.events}
    owner = {path: one.key for one in site.subscriptions for path in one.paths}
    arrived: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        arrived[entry.event, owner[entry.path]].append(entry)

    problems = _orders_against_events(site, books, pruned=pruned)
    if len([event for event in books.events if not event["published"]]) != unpublished:
        problems.append(f"unpublished events: {[event for event in books.events if not event['published']]}")

    # What was rolled back never arrived. Only what was deleted, and said to be, may be gone.
    there = books.orders.keys() | {event["order"] for event in books.events if event["topic"] == "order.deleted"}
    for public_id, _subscription in arrived:
        event = known.get(public_id)
        if event is None and not pruned:
            problems.append(f"{public_id} arrived and is not in the database")
        elif event and (event["order"] not in there or event["order"] in site.rolled_back):
            problems.append(f"{public_id} arrived, of an order that is not in the database")

    # The same bytes each time, whoever gets them.
    digests: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        digests[entry.event].add(entry.digest)
    problems += [f"{event} came with {len(found)} bodies" for event, found in digests.items() if len(found) > 1]

    # Everything that was committed has arrived at every subscription that wants it.
    owed = {(one["event"], one["subscription"]): one for one in books.deliveries}
    for event in books.events:
        for subscription in books.subscriptions.values():
            wanted = event["published"] and topics.matches(subscription["topics"], event["topic"])
            if wanted and (event["id"], subscription["key"]) not in owed:
                account.lost += 1
                problems.append(f"{event['topic']} {event['id']} has no delivery to {subscription['key']}")
    for key, delivery in owed.items():
        came = arrived.get(key, [])
        if delivery["state"] == "delivered" and not any(entry.succeeded for entry in came):
            account.lost += 1
            problems.append(f"delivered, it says, but it never arrived: {delivery}")
        elif delivery["state"] != "delivered" and delivery["state"] not in ends.get(delivery["subscription"], ()):
            account.lost += 1
            problems.append(f"not delivered: {delivery}: {books.attempts[delivery['key']]}")
        problems += _attempts_against_entries(delivery, books.attempts[delivery["key"]], came)
        account.duplicates.update(
            _duplicates(books.attempts[delivery["key"]], came, lost=KILLED if site.kills else LEASE)
        )

    if pruned:
        problems += _orders_against_bodies(site, books, arrived)
        account.duplicates["unexplained"] += sum(
            sum(entry.succeeded for entry in came) - 1 for key, came in arrived.items() if key not in owed
        )
    account.duplicates += Counter()  # without the zeros
    problems += [
        f"{count} duplicates: {cause}"
        for cause, count in account.duplicates.items()
        if cause not in causes and not (cause == TOO_LATE and count * SELDOM <= account.received)
    ]
    account.lost += sum(problem.startswith("no event") for problem in problems)
    assert not problems, f"{len(problems)} do not fit, in {site.folder}:\n" + "\n".join(problems[:20])
    return account


def _orders_against_events(site: Site, books: Books, *, pruned: bool) -> list[str]:
    told: dict[str, list[str]] = defaultdict(list)
    for event in books.events:
        told[event["order"]].append(event["topic"])
    problems = [f"saved, said the database, but it is gone: {one}" for one in site.committed - books.orders.keys()]
    problems += [f"rolled back, but it is there: {one}" for one in site.rolled_back & books.orders.keys()]
    unreadable = sum(not event["published"] for event in books.events)
    for order, payment in books.orders.items():
        for topic in ["order.created"] + (["order.updated", "order.paid"] if payment == "paid" else []):
            if topic not in told[order] and not pruned and not unreadable:
                problems.append(f"no event {topic} of {order}")
            if topic != "order.updated" and told[order].count(topic) > 1:
                problems.append(f"two events {topic} of {order}")
    return problems


def _orders_against_bodies(site: Site, books: Books, arrived: Mapping[tuple[str, int], Sequence[Entry]]) -> list[str]:
    told = set()
    for (_event, subscription), entries in arrived.items():
        body = json.loads(entries[0].body)
        told.add((body["data"]["order"]["id"], body["type"], subscription))
    return [
        f"no event {topic} of {order} has arrived at {one['key']}"
        for order, payment in books.orders.items()
        for topic in ("order.created", "order.paid")
        for one in books.subscriptions.values()
        if (topic == "order.created" or payment == "paid")
        and topics.matches(one["topics"], topic)
        and (order, topic, one["key"]) not in told
    ]


def _attempts_against_entries(
    delivery: Mapping[str, Any], attempts: Mapping[int, Mapping[str, Any]], came: Sequence[Entry]
) -> list[str]:
    problems = [
        f"a request came that is not written down: attempt {entry.attempt} of {delivery}"
        for entry in came
        if entry.attempt not in attempts
    ]
    if sorted(attempts) != list(range(1, delivery["attempts"] + 1)):
        problems.append(f"attempts counted and written down differ: {delivery}, {sorted(attempts)}")
    seen = {(entry.attempt, entry.begun) for entry in came}
    for number, attempt in attempts.items():
        if attempt["status"] is not None and (number, attempt["status"]) not in seen:
            problems.append(f"an attempt is written down that never came: {number} {attempt} of {delivery}")
    return problems


def _duplicates(attempts: Mapping[int, Mapping[str, Any]], came: Sequence[Entry], *, lost: str) -> list[str]:
    """The cause of each request that got 2xx beside the last one; `lost` if its response was not recorded."""
    taken = [entry for entry in came if entry.succeeded]
    return [_cause(attempts, entry, following, lost) for entry, following in pairwise(taken)]


def _cause(attempts: Mapping[int, Mapping[str, Any]], entry: Entry, following: Entry, lost: str) -> str:
    attempt = attempts.get(entry.attempt)
    if attempt is None:
        return "unexplained"
    if attempt["detail"].startswith(WORKER_LOST):
        return lost
    if entry.attempt == following.attempt:
        return BROKEN
    if attempt["error"] == "timeout":
        return TOO_LATE
    if attempt["status"] == entry.answered and attempts.get(following.attempt, {}).get("trigger") == "manual":
        return REDELIVERED
    return f"unexplained: attempt {attempt}"
