"""Several hosts on one database: cut off, stopped, with clocks that differ. Limits and order hold across them."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.hosts import GATEWAY, NETWORK, Host, two_hosts, why_impossible
from tests.chaos.ledger import Answer, Entry
from tests.chaos.reckoning import BROKEN, KILLED, LEASE, TOO_LATE
from tests.chaos.sites import Cluster, Site, wait_until

BROKERS = pytest.mark.parametrize("broker", ["orm", "redis", "rabbitmq"])
MINUTES = 180
# With the attempt's two seconds a lease lasts six; see `apps`.
LEASE_SECONDS = 6.0
# On a busy machine.
SETTLE_SECONDS = 150
AT_ONCE = 3
ANSWER_SECONDS = 0.1
# Within the attempt's two seconds.
SLOW_SECONDS = 1.5


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if reason := why_impossible():
        pytest.skip(reason)


@contextlib.contextmanager
def site_on_hosts(chaos: Chaos, broker: str, **more: Any) -> Iterator[tuple[Site, list[Host]]]:
    """A site whose subscriptions the hosts reach at GATEWAY: one to everything, a limited one, one in order."""
    redis = chaos.redis() if broker == "redis" else None
    rabbitmq = chaos.rabbitmq() if broker == "rabbitmq" else None
    allowed = {"ALLOWED_NETWORKS": [NETWORK]}
    site = chaos.site(redis=redis.url if redis else "", rabbitmq=rabbitmq, orderhooks=allowed, **more)
    ports = [site.database["PORT"], site.door.port, *(one.port for one in (redis, rabbitmq) if one)]
    with two_hosts(chaos.folder, *ports) as hosts:
        address = f"{GATEWAY}:{site.door.port}"
        site.subscribe("/all", host=address)
        site.subscribe("/limited", host=address, max_in_flight=AT_ONCE)
        site.subscribe("/ordered", host=address, ordered=True)
        for path in ("/limited", "/ordered"):
            chaos.ledger.answers[path] = Answer(after=ANSWER_SECONDS)
        try:
            yield site, hosts
        finally:
            # Before their network is gone.
            site.close()


def wait_until_both_send(site: Site, hosts: Sequence[Host]) -> None:
    """With wake-ups, as a cluster may take several and leave the other none."""

    def both_send() -> bool:
        if all(host.network.opened[host.address, site.door.port] for host in hosts):
            return True
        site.shop.call("pump_tasks", count=2)
        time.sleep(0.3)
        return False

    wait_until(both_send, 40, "requests of both hosts")


def at_once(entries: Sequence[Entry]) -> int:
    """The most requests that waited for their response at the same time."""
    begun = [(entry.at, 1) for entry in entries]
    ended = [(entry.at + ANSWER_SECONDS, -1) for entry in entries]
    most = now = 0
    for _at, step in sorted(begun + ended):
        now += step
        most = max(most, now)
    return most


def require_order(entries: Sequence[Entry]) -> None:
    """Each order's events came first in the order of their sequence."""
    last: dict[str, int] = {}
    seen: set[str] = set()
    for entry in entries:
        if entry.event in seen:
            continue
        seen.add(entry.event)
        body = json.loads(entry.body)
        order = body["data"]["order"]["id"]
        assert last.get(order, 0) < body["sequence"], f"{entry.topic} of {order} came too late"
        last[order] = body["sequence"]


@BROKERS
def test_two_hosts_keep_limits_and_order_together(chaos: Chaos, broker: str) -> None:
    """Each event once, at most three requests at a time to the limited endpoint, each order's events in order."""
    with site_on_hosts(chaos, broker) as (site, hosts):
        for host in hosts:
            site.start_cluster(host)
        with site.trade(120, 0.05, paid=0.8), site.trade(120, 0.05, paid=0.8):
            wait_until_both_send(site, hosts)
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site)
        assert 1 < at_once(chaos.ledger.at("/limited")) <= AT_ONCE
        require_order(chaos.ledger.at("/ordered"))


@BROKERS
def test_a_host_that_is_cut_off_and_comes_back_loses_nothing(chaos: Chaos, broker: str) -> None:
    """Its packets get lost for longer than a lease, under load: the other host takes over, its own results are late."""
    with site_on_hosts(chaos, broker) as (site, hosts):
        clusters = [site.start_cluster(host) for host in hosts]
        unlucky = chaos.random.randrange(2)
        with site.trade(250, 0.05, paid=0.5):
            wait_until_both_send(site, hosts)
            hosts[unlucky].cut_off()
            so_far = len(chaos.ledger.entries)
            wait_until(lambda: len(chaos.ledger.entries) > so_far + 30, 30, "requests of the other host")
            time.sleep(LEASE_SECONDS + chaos.random.uniform(0.0, 2.0))
            hosts[unlucky].bring_back()
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site, causes={LEASE, TOO_LATE, BROKEN})
        require_order(chaos.ledger.at("/ordered"))
        assert all(cluster.leader.poll() is None for cluster in clusters), "both clusters still run"


def test_a_host_that_hangs_and_goes_on_changes_nothing(chaos: Chaos) -> None:
    """All of its processes are stopped for longer than a lease: the other host takes over what it had claimed."""
    with site_on_hosts(chaos, "orm") as (site, hosts):
        clusters = [site.start_cluster(host) for host in hosts]
        unlucky = clusters[chaos.random.randrange(2)]
        with site.trade(250, 0.05, paid=0.5):
            wait_until_both_send(site, hosts)
            unlucky.signal_all(signal.SIGSTOP)
            time.sleep(LEASE_SECONDS + chaos.random.uniform(0.0, 2.0))
            so_far = len(chaos.ledger.entries)
            wait_until(lambda: len(chaos.ledger.entries) > so_far + 10, 30, "requests of the other host")
            unlucky.signal_all(signal.SIGCONT)
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site, causes={LEASE, TOO_LATE, BROKEN})
        require_order(chaos.ledger.at("/ordered"))


@pytest.mark.parametrize("moment", ["another sends", "another has sent"])
def test_a_host_that_wakes_after_its_lease_overwrites_nothing(chaos: Chaos, moment: str) -> None:
    """Stopped in the middle of a request until another host has its delivery; the late 503 of it changes nothing.

    Woken while the other one's request waits for its response, the delivery is being sent, but by another's lease.
    """
    # A turn that was stopped goes on afterwards.
    with site_on_hosts(chaos, "redis", task_seconds=120) as (site, hosts):
        clusters = {host.address: site.start_cluster(host) for host in hosts}
        victims: list[tuple[Entry, Cluster]] = []

        def stop(entry: Entry) -> None:
            victims.append((entry, clusters[hosts[0].network.behind[entry.port]]))
            victims[0][1].signal_all(signal.SIGSTOP)

        def answer(entry: Entry, number: int) -> Answer:
            if number > unlucky and not victims:
                return Answer(503, first=stop)
            again = victims and entry.event == victims[0][0].event
            return Answer(after=SLOW_SECONDS if again and moment == "another sends" else 0.0)

        def came_again() -> list[Entry]:
            return [one for one in chaos.ledger.at("/all") if victims and one.event == victims[0][0].event][1:]

        unlucky = chaos.random.randint(20, 60)
        chaos.ledger.answers["/all"] = answer
        with site.trade(200, 0.05, paid=0.5):
            wait_until(came_again, 60, "a second request of what the stopped host was sending")
            if moment == "another has sent":
                delivered = {"event__public_id": victims[0][0].event, "subscription__url__endswith": "/all"}
                wait_until(lambda: site.shop.call("states", **delivered) == {"delivered": 1}, 20, "its result")
            victims[0][1].signal_all(signal.SIGCONT)
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site, causes={LEASE, TOO_LATE, BROKEN})
        require_order(chaos.ledger.at("/ordered"))
        assert len(came_again()) == 1, "what was delivered is not sent again"
        log = victims[0][1].log.read_text()
        wait_until(lambda: "came back too late" in victims[0][1].log.read_text(), 20, "a result that comes too late")
        # Not even tried: the database would have refused a second record of the same attempt.
        assert "the database refused" not in log


@BROKERS
def test_hosts_whose_clocks_differ_by_minutes_send_everything_once(chaos: Chaos, broker: str) -> None:
    """Three minutes ahead and three behind: no lease runs out early, limits and order hold, no retry waits minutes."""
    with site_on_hosts(chaos, broker) as (site, hosts):
        for host, wrong in zip(hosts, chaos.random.sample([MINUTES, -MINUTES], 2), strict=True):
            host.clock.write_text(str(wrong))
        chaos.ledger.answers["/all"] = lambda _entry, number: Answer(503 if number % 10 == 0 else 200)
        for host in hosts:
            site.start_cluster(host)
        with site.trade(150, 0.05, paid=0.8):
            # By the database's queue a host that is behind gets no task for minutes: django-q2 goes by its clock.
            if broker != "orm":
                wait_until_both_send(site, hosts)
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site)
        assert 1 < at_once(chaos.ledger.at("/limited")) <= AT_ONCE
        require_order(chaos.ledger.at("/ordered"))


@BROKERS
def test_a_host_whose_power_fails_loses_nothing(chaos: Chaos, broker: str) -> None:
    """It is gone without a word: the database still takes its connections for open. The other host takes over."""
    with site_on_hosts(chaos, broker) as (site, hosts):
        clusters = [site.start_cluster(host) for host in hosts]
        unlucky = chaos.random.randrange(2)
        with site.trade(200, 0.05, paid=0.5):
            wait_until_both_send(site, hosts)
            hosts[unlucky].cut_off()
            site.kill_cluster(clusters[unlucky])
            so_far = len(chaos.ledger.entries)
            wait_until(lambda: len(chaos.ledger.entries) > so_far + 30, 30, "requests of the other host")
        site.settle(SETTLE_SECONDS)
        chaos.reckon(site, causes={KILLED, TOO_LATE, BROKEN})
        require_order(chaos.ledger.at("/ordered"))


def test_hosts_that_are_both_cut_off_go_on_when_they_are_back(chaos: Chaos) -> None:
    """The store saves meanwhile, as if nothing had happened; everything is sent afterwards."""
    with site_on_hosts(chaos, "redis") as (site, hosts):
        for host in hosts:
            site.start_cluster(host)
        with site.trade(150, 0.05, paid=0.5):
            wait_until_both_send(site, hosts)
            for host in hosts:
                host.cut_off()
            site.place(20)
            time.sleep(LEASE_SECONDS + chaos.random.uniform(0.0, 2.0))
            for host in hosts:
                host.bring_back()
        site.settle(SETTLE_SECONDS)
        assert site.refused == set()
        chaos.reckon(site, causes={LEASE, TOO_LATE, BROKEN})
        require_order(chaos.ledger.at("/ordered"))
