"""The database goes, refuses, is full, is locked: nothing that it has committed is lost."""

import contextlib
import time

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.reckoning import LEASE
from tests.chaos.sites import wait_until
from tests.servers import PostgresServer

ON_SERVERS = pytest.mark.parametrize("vendor", ["postgres", "mariadb"])


def test_a_postgres_that_crashes_under_load_loses_nothing(chaos: Chaos, own_postgres: PostgresServer) -> None:
    """Stopped at once (`immediate`) and started again, twice: what it had committed arrives."""
    site = chaos.site(own=own_postgres)
    site.subscribe("/all")
    site.start_cluster()
    with site.trade(300, 0.02):
        for _ in range(2):
            time.sleep(chaos.random.uniform(1.0, 2.0))
            own_postgres.stop()
            time.sleep(chaos.random.uniform(0.0, 2.0))
            own_postgres.start()
    site.settle(60)
    chaos.reckon(site, causes={LEASE})


def test_a_postgres_without_a_connection_left_loses_nothing(chaos: Chaos, own_postgres: PostgresServer) -> None:
    """Others take every connection and ours are cut off: work goes on when there are some again."""
    import psycopg

    site = chaos.site(own=own_postgres)
    site.subscribe("/all")
    site.start_cluster()
    with site.trade(300, 0.02), contextlib.ExitStack() as taken:
        time.sleep(chaos.random.uniform(0.5, 1.5))
        others = []
        end = time.monotonic() + chaos.random.uniform(4.0, 6.0)
        while time.monotonic() < end:
            try:
                others.append(taken.enter_context(psycopg.connect(**chaos.address(site), autocommit=True)))
            except psycopg.OperationalError:
                others[0].execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [site.database["NAME"]],
                )
        assert len(others) > own_postgres.connections / 2
    assert site.refused
    site.settle(60)
    chaos.reckon(site, causes={LEASE})


def test_a_database_that_is_read_only_for_a_while_loses_nothing(chaos: Chaos) -> None:
    """A fail-over to a replica, then back: requests whose result can't be written down are not begun."""
    site = chaos.site()
    site.subscribe("/all")
    site.start_cluster()
    name = site.database["NAME"]
    cut_off = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    with site.trade(200, 0.03):
        time.sleep(chaos.random.uniform(0.5, 1.5))
        chaos.execute(site, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        chaos.execute(site, cut_off)
        time.sleep(chaos.random.uniform(1.0, 4.0))
        chaos.execute(site, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        chaos.execute(site, cut_off)
    assert site.refused
    site.settle(60)
    chaos.reckon(site, causes={LEASE})


@ON_SERVERS
def test_a_subscription_that_somebody_keeps_locked_holds_up_no_other(chaos: Chaos, vendor: str) -> None:
    """Its row is locked for longer than a lease: deliveries to others arrive meanwhile, the rest afterwards."""
    site = chaos.site(vendor)
    locked = site.subscribe("/locked", max_in_flight=chaos.random.choice([None, 2]))
    site.subscribe("/free")
    site.place(40)
    site.start_cluster()
    site.settle(20)
    site.shop.call("redeliver")
    other = site.open_shop()
    other.begin("hold_locks", seconds=8, pk=locked)
    site.shop.call("wait_for_lock", subscription=locked)
    site.place(40)
    site.shop.call("redeliver", subscription__url__endswith="/free")
    owed = site.shop.call("states", subscription__url__endswith="/free")
    wait_until(
        lambda: site.shop.call("states", subscription__url__endswith="/free").keys() <= {"delivered"},
        7,
        f"deliveries to the free one: {owed}",
    )
    assert other.end() == 1
    site.settle(40)
    chaos.reckon(site, causes={LEASE, "redelivered"})


@ON_SERVERS
def test_deliveries_that_somebody_keeps_locked_hold_up_no_others(chaos: Chaos, vendor: str) -> None:
    """Some are locked before they are claimed, some while they are being sent: the others go on, these do later."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.shop.call("owe", count=100)
    site.shop.call("route")
    before, during = site.open_shop(), site.open_shop()
    before.begin("hold_deliveries", seconds=7, state="pending", count=chaos.random.randint(5, 30))
    site.start_cluster()
    site.shop.call("minute_passes")
    wait_until(lambda: chaos.ledger.entries, 20, "a request")
    during.begin("hold_deliveries", seconds=chaos.random.uniform(1, 7), state="sending", count=10)
    with site.trade(100, 0.02):
        pass
    before.end()
    during.end()
    site.settle(40)
    chaos.reckon(site, causes={LEASE})


def test_orders_whose_lines_can_not_be_read_for_a_while_are_published_later(chaos: Chaos) -> None:
    """The lines' table is locked, as a migration does, and the database soon stops waiting: no event is given up."""
    import psycopg

    site = chaos.site()
    site.subscribe("/all")
    # Now the time limit holds for each connection that is made.
    chaos.execute(site, f"ALTER DATABASE {site.database['NAME']} SET statement_timeout = '300ms'")
    site.place(20)
    site.start_cluster()
    orders = [site.shop.call("place_one") for _ in range(chaos.random.randint(10, 20))]
    with psycopg.connect(**{**chaos.address(site), "dbname": site.database["NAME"]}) as migration:
        migration.execute("LOCK TABLE orderhooks_orderline IN ACCESS EXCLUSIVE MODE")
        site.shop.call("pay", public_ids=orders)
        assert site.shop.call("changes")
        end = time.monotonic() + chaos.random.uniform(2.0, 5.0)
        while time.monotonic() < end:
            site.shop.call("minute_passes")
            time.sleep(0.5)
        assert site.shop.call("changes")
    site.settle(60)
    chaos.reckon(site, causes={LEASE})


def test_a_file_that_another_process_keeps_locked_loses_nothing(chaos: Chaos) -> None:
    """SQLite's one write lock is taken for longer than anybody waits: saves fail, but what was saved arrives."""
    site = chaos.site("sqlite", patience=1)
    site.subscribe("/all")
    site.start_cluster()
    other = site.open_shop()
    with site.trade(150, 0.02):
        for _ in range(2):
            time.sleep(chaos.random.uniform(0.3, 1.0))
            other.call("hold_the_file", seconds=chaos.random.uniform(3, 5))
    assert site.refused
    site.settle(60)
    chaos.reckon(site, causes={LEASE})


@ON_SERVERS
def test_migrating_again_under_load_changes_nothing(chaos: Chaos, vendor: str) -> None:
    """`migrate` with deliveries waiting and under way: nothing is lost, nothing is sent twice, one sweep stays."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.place(40)
    other = site.open_shop()
    other.call("migrate")
    site.start_cluster()
    with site.trade(100, 0.02):
        for _ in range(2):
            other.call("migrate")
    assert site.shop.call("sweeps") == 1
    site.settle(30)
    chaos.reckon(site)


@ON_SERVERS
def test_pruning_under_load_takes_only_what_is_done(chaos: Chaos, vendor: str) -> None:
    """What has just been finished is pruned at once, again and again: everything arrives, and only once."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.subscribe("/paid", topics=("order.paid",))
    site.start_cluster()
    pruned, other = 0, site.open_shop()
    with site.trade(200, 0.015):
        for _ in range(30):
            time.sleep(chaos.random.uniform(0.0, 0.2))
            pruned += other.call("prune")
    site.settle(30)
    assert pruned
    chaos.reckon(site, pruned=True)
