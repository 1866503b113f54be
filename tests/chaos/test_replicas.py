"""A standby of PostgreSQL, as a store has one: it lags behind, or takes over. Servers of the row's own."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.chaos.conftest import Chaos
from tests.chaos.ledger import Entry
from tests.chaos.reckoning import LEASE
from tests.chaos.sites import wait_until

BEHIND = "3s"
# On a busy machine.
SETTLE_SECONDS = 150
READS = "SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables"
# Statistics are complete when those who read are gone.
READERS = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '{}'"
IS_SYNCHRONOUS = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


def test_a_replica_that_lags_behind_serves_the_store_and_nothing_of_ours(chaos: Chaos) -> None:
    """Every read of the store, of its users and sessions goes there: events are right, pages show the last write."""
    primary = chaos.postgres()
    standby = chaos.postgres(primary, recovery_min_apply_delay=BEHIND)
    sources = ["tests.chaos.sources.ChaosOrders", "tests.chaos.sources.Purchases"]
    site = chaos.site(own=primary, replica=standby, orderhooks={"SOURCES": sources})
    site.subscribe("/all")
    site.subscribe("/ordered", ordered=True)
    for _ in range(2):
        site.start_cluster()
    # It has the tables since.
    site.shop.call("sign_in")
    with site.trade(80, 0.1, act="trade_by_replica"):
        for _ in range(5):
            site.shop.call("look_at_what_was_written")
    site.settle(SETTLE_SECONDS)
    chaos.reckon(site)
    require_contents(chaos.ledger.at("/all"), site.shop.call("purchases"))
    site.close()
    name = site.database["NAME"]
    wait_until(lambda: not standby.execute(READERS.format(name)), 20, "the end of the standby's connections")
    reads = dict(standby.execute(READS, name))
    assert all(reads[table] for table in ("chaos_purchase", "chaos_customer", "auth_user", "django_session")), reads
    assert {table: count for table, count in reads.items() if table.startswith("orderhooks_") and count} == {}


def test_a_standby_that_takes_over_has_all_that_was_committed(chaos: Chaos) -> None:
    """The primary is killed under load, and the site's address leads to its synchronous standby: work goes on there.

    A result whose writing was not confirmed may be lost, and its delivery is sent again. Everybody reconnects alone.
    """
    primary = chaos.postgres()
    standby = chaos.postgres(primary)
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    wait_until(lambda: primary.execute(IS_SYNCHRONOUS), 20, "a synchronous standby")
    relay = chaos.relay(primary)
    site = chaos.site(own=relay)
    site.subscribe("/all")
    site.subscribe("/limited", max_in_flight=3)
    clusters = [site.start_cluster() for _ in range(2)]
    moment = chaos.random.randint(30, 120)
    with site.trade(200, 0.05, paid=0.5):
        wait_until(lambda: len(chaos.ledger.entries) > moment, 60, "requests")
        primary.crash()
        relay.cut()
        standby.promote()
        so_far = len(chaos.ledger.entries)
        relay.target = standby.port
        relay.restore()
        wait_until(lambda: len(chaos.ledger.entries) > so_far + 30, 60, "requests by the new primary")
    site.settle(SETTLE_SECONDS)
    chaos.reckon(site, causes={LEASE})
    assert all(cluster.leader.poll() is None for cluster in clusters), "both clusters still run"


def require_contents(entries: Sequence[Entry], purchases: Mapping[str, Mapping[str, Any]]) -> None:
    """Each event shows what its transaction committed, the last one of each purchase what there is now."""
    bodies: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for entry in entries:
        body = json.loads(entry.body)
        if body["source"] == "purchases":
            bodies[body["data"]["order"]["id"]][body["sequence"]] = body
    deletions = Counter(one["type"] for by_sequence in bodies.values() for one in by_sequence.values())["order.deleted"]
    assert deletions == len(bodies.keys() - purchases.keys())
    assert deletions > 0
    for key, by_sequence in bodies.items():
        shown = [_shown(by_sequence[sequence]) for sequence in sorted(by_sequence)]
        for before, after in pairwise(shown):
            assert (before["payment_status"], after["payment_status"]) != ("paid", "pending"), f"stale: {key} {shown}"
            assert _number(before["note"]) <= _number(after["note"]), f"stale: {key} {shown}"
        assert all(one["skus"] == ["POT-1", "TEA-1"] and one["slip"] for one in shown), f"incomplete: {key} {shown}"
        if key in purchases:
            assert shown[-1] == purchases[key]


def _shown(body: Mapping[str, Any]) -> dict[str, Any]:
    order = body["data"]["order"]
    return {
        "payment_status": order["payment_status"],
        "note": order["note"],
        "skus": sorted(line["sku"] for line in order["lines"]),
        "customer": order["customer"]["name"],
        "slip": order["slip"] and order["slip"]["number"],
    }


def _number(note: str) -> int:
    return int(note.rpartition(" ")[2] or -1)
