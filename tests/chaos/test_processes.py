"""Processes die, sleep, are ended and are many: what was committed arrives."""

import contextlib
import os
import signal
import time

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.ledger import Answer, Entry
from tests.chaos.reckoning import KILLED, LEASE, REDELIVERED
from tests.chaos.sites import wait_until

EVERYWHERE = pytest.mark.parametrize("vendor", ["postgres", "mariadb", "sqlite"])
ON_SERVERS = pytest.mark.parametrize("vendor", ["postgres", "mariadb"])
# Results that a pump may have in hand: a batch, and what its threads are at.
IN_HAND = 50 + 16


def test_a_store_killed_between_commit_and_wake_is_made_good_by_the_real_sweep(chaos: Chaos) -> None:
    """Orders whose process was killed right after the commit arrive, at most 90 s later, though nobody was woken."""
    site = chaos.site(redis=chaos.redis().url)
    site.subscribe("/all")
    site.start_cluster()
    for moment in chaos.random.choices(["coalesce", "wake"], k=4):
        shop = site.open_shop()
        shop.begin("place_and_die", moment=moment)
        shop.wait_for_death()
    site.settle(90, sweep=False)
    chaos.reckon(site)


@EVERYWHERE
def test_what_is_rolled_back_never_arrives(chaos: Chaos, vendor: str) -> None:
    """Each committed order arrives once; of those rolled back, under load and beside a cluster, nothing does."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    with site.trade(chaos.random.randint(60, 120), 0.01, rolled_back=0.5):
        site.place(chaos.random.randint(40, 80), rolled_back=0.5)
    site.settle(30)
    assert site.rolled_back
    chaos.reckon(site)


@EVERYWHERE
def test_a_worker_killed_in_the_middle_of_a_request_loses_nothing(chaos: Chaos, vendor: str) -> None:
    """`kill -9` while requests wait for their responses: all arrive, no more than a batch twice for each kill."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    moments = set(chaos.random.sample(range(5, 60), 3))

    def answer(entry: Entry, number: int) -> Answer:
        if number in moments:
            return Answer(after=0.5, first=site.kill_sender)
        return Answer(after=chaos.random.choice([0.0, 0.05]))

    chaos.ledger.answers["/all"] = answer
    site.place(80)
    site.settle(60)
    assert site.kills == len(moments)
    account = chaos.reckon(site, causes={KILLED})
    assert account.duplicates[KILLED] <= IN_HAND * site.kills


@EVERYWHERE
def test_a_worker_killed_after_the_response_and_before_it_is_recorded_sends_again(chaos: Chaos, vendor: str) -> None:
    """The receiver has said 2xx, the worker dies before it writes that down: the same id and bytes come again."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    moments = set(chaos.random.sample(range(1, 30), 2))
    victims: list[Entry] = []

    def answer(entry: Entry, number: int) -> Answer:
        if number not in moments:
            return Answer()
        victims.append(entry)
        # Stopped, so that it has the response and can't act on it.
        return Answer(first=site.stop_sender, then=site.kill_sender)

    chaos.ledger.answers["/all"] = answer
    site.place(60)
    site.settle(60)
    account = chaos.reckon(site, causes={KILLED})
    assert len(victims) <= account.duplicates[KILLED] <= IN_HAND * len(victims)


def test_a_worker_that_slept_past_its_lease_changes_nothing(chaos: Chaos) -> None:
    """SIGSTOP with responses on the way, SIGCONT after others have sent it again: the sleeper's results are refused."""
    site = chaos.site()
    site.subscribe("/all")
    cluster = site.start_cluster()
    asleep: list[int] = []

    def answer(entry: Entry, number: int) -> Answer:
        if number == 10:
            return Answer(then=lambda entry: asleep.append(site.stop_sender(entry)))
        return Answer(after=0.05)

    chaos.ledger.answers["/all"] = answer
    site.place(40, rolled_back=0)
    wait_until(lambda: asleep, 20, "a worker that has made ten requests")
    site.settle(40)
    before = site.shop.call("report")
    os.kill(asleep[0], signal.SIGCONT)
    wait_until(lambda: "came back too late" in cluster.log.read_text(), 20, "a result that comes too late")
    time.sleep(1)
    assert site.shop.call("report") == before
    assert chaos.reckon(site, causes={LEASE}).duplicates[LEASE]


def test_a_cluster_that_is_stopped_under_load_leaves_nothing_half_done(chaos: Chaos) -> None:
    """SIGTERM to the leader: it ends by itself, every request made is written down, the next cluster does the rest."""
    site = chaos.site()
    site.subscribe("/all")
    chaos.ledger.answers["/all"] = lambda entry, number: Answer(after=chaos.random.uniform(0.0, 0.4))
    first = site.start_cluster()
    with site.trade(300, 0.02):
        wait_until(lambda: len(chaos.ledger.entries) > chaos.random.randint(10, 60), 20, "requests")
        first.stop()
        assert "sending" not in site.shop.call("states")
    site.start_cluster()
    site.settle(40)
    chaos.reckon(site)


@EVERYWHERE
def test_a_machine_that_fails_again_and_again_loses_nothing(chaos: Chaos, vendor: str) -> None:
    """`kill -9` of a whole cluster under load, three times: all arrives, duplicates are a batch for each worker."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.subscribe("/paid", topics=("order.paid",))
    chaos.ledger.answers["/all"] = lambda entry, number: Answer(after=chaos.random.choice([0.0, 0.1]))
    with site.trade(250, 0.02):
        for _ in range(3):
            cluster = site.start_cluster()
            so_far = len(chaos.ledger.entries)
            with contextlib.suppress(AssertionError):  # its pump may wait for the lease of the last one's
                wait_until(lambda: len(chaos.ledger.entries) > so_far + 10, 4, "requests")  # noqa: B023
            time.sleep(chaos.random.uniform(0.0, 0.5))
            site.kill_cluster(cluster)
    site.start_cluster()
    site.settle(60)
    account = chaos.reckon(site, causes={KILLED})
    assert account.duplicates[KILLED] <= IN_HAND * 2 * site.kills


@ON_SERVERS
def test_three_clusters_share_the_work_without_sending_twice(chaos: Chaos, vendor: str) -> None:
    """Six workers on one database: every event once to each of three subscriptions."""
    site = chaos.site(vendor)
    for number in range(3):
        site.subscribe(f"/{number}", max_in_flight=chaos.random.choice([None, 3]), ordered=number == 2)
    for _ in range(3):
        site.start_cluster()
    with site.trade(100, 0.005), site.trade(100, 0.005):
        site.shop.call("pump_tasks", count=6)
        site.place(60)
    site.settle(60)
    chaos.reckon(site)


def test_the_same_wake_up_fifty_times_over_does_no_harm(chaos: Chaos) -> None:
    """Fifty pumps are queued: everything is sent once, and the queue is empty soon."""
    site = chaos.site()
    site.subscribe("/all")
    site.shop.call("pump_tasks", count=25)
    site.place(30)
    site.start_cluster()
    site.shop.call("pump_tasks", count=25)
    with site.trade(100, 0.01):
        pass
    site.settle(40)
    wait_until(lambda: site.shop.call("queued") == 0, 60, "an empty queue")
    chaos.reckon(site)


@ON_SERVERS
def test_what_an_operator_redelivers_comes_again_and_nothing_else_does(chaos: Chaos, vendor: str) -> None:
    """Redelivered under load, in the middle of being sent as well: one more request each, the same id and bytes."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    chosen = 0
    with site.trade(150, 0.01):
        for _ in range(4):
            time.sleep(chaos.random.uniform(0.2, 0.6))
            chosen += site.shop.call("redeliver", state="delivered")
    site.settle(40)
    again = site.shop.call("redeliver", state="delivered")
    site.settle(40)
    account = chaos.reckon(site, causes={REDELIVERED})
    assert again <= account.duplicates[REDELIVERED] <= chosen + again
