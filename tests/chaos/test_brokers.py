"""The broker holds nothing that matters: it may be gone, empty or deaf."""

import os
import signal
import time

from tests.chaos.conftest import Chaos


def test_a_broker_that_is_gone_for_a_while_loses_nothing(chaos: Chaos) -> None:
    """Redis refuses connections under load: no save fails, and what was saved meanwhile arrives after its return."""
    broker = chaos.redis()
    site = chaos.site(redis=broker.url)
    site.subscribe("/all")
    site.start_cluster()
    with site.trade(200, 0.03):
        time.sleep(chaos.random.uniform(0.5, 1.5))
        broker.stop()
        site.place(20)
        time.sleep(chaos.random.uniform(1.0, 3.0))
        broker.start()
    site.settle(60)
    chaos.reckon(site)
    assert site.refused == set()


def test_a_broker_that_was_emptied_loses_nothing(chaos: Chaos) -> None:
    """FLUSHALL takes every wake-up along; all the same each order arrives."""
    import redis

    broker = chaos.redis()
    site = chaos.site(redis=broker.url)
    site.subscribe("/all")
    site.place(chaos.random.randint(20, 60))
    with redis.from_url(broker.url) as connection:
        assert site.shop.call("queued") > 0
        connection.flushall()
        site.start_cluster()
        with site.trade(100, 0.02):
            for _ in range(10):
                time.sleep(chaos.random.uniform(0.05, 0.3))
                connection.flushall()
    site.settle(30)
    chaos.reckon(site)


def test_a_broker_that_is_deaf_holds_up_no_save(chaos: Chaos) -> None:
    """Redis accepts connections and never responds: orders are saved all the same, and arrive when it has woken."""
    broker = chaos.redis()
    site = chaos.site(redis=broker.url)
    site.subscribe("/all")
    site.start_cluster()
    site.place(20)
    assert broker.process
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        site.place(40)
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    site.settle(60)
    chaos.reckon(site)
    assert site.refused == set()
