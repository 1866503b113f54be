"""Clocks that are set by an hour while everything runs; the database's, which all share, goes on."""

import time

import pytest

from tests.chaos.conftest import Chaos

HOUR = 3600


@pytest.mark.parametrize("vendor", ["postgres", "mariadb"])
def test_a_worker_whose_clock_jumps_sends_everything_once(chaos: Chaos, vendor: str) -> None:
    """An hour forth and an hour back under load: no lease runs out early, no retry waits an hour. At the end the clock
    is right: django-q2 goes by it for its own queue and schedule, and fetches no task from what it takes for future.
    """
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    with site.trade(200, 0.02):
        for wrong in [*chaos.random.sample([HOUR, -HOUR], 2), 0]:
            site.worker_clock.write_text(str(wrong))
            time.sleep(chaos.random.uniform(0.5, 1.5))
    site.settle(30)
    chaos.reckon(site)


@pytest.mark.parametrize("wrong", [HOUR, -HOUR])
def test_a_store_whose_clock_jumps_loses_nothing(chaos: Chaos, wrong: int) -> None:
    """An order that was saved under a wrong clock arrives at the next sweep, also at a subscription that was made
    just before, and if the store's process was killed right after the commit."""
    site = chaos.site()
    site.subscribe("/right")
    site.shop_clock.write_text(str(wrong))
    site.subscribe("/wrong")
    site.shop_clock.write_text("0")
    site.start_cluster()
    with site.trade(100, 0.02):
        time.sleep(chaos.random.uniform(0.2, 0.8))
        site.shop_clock.write_text(str(wrong))
    site.place(20)
    dying = site.open_shop()
    dying.begin("place_and_die", moment="coalesce")
    dying.wait_for_death()
    site.settle(40, sweeper=site.open_shop(site.worker_clock))
    chaos.reckon(site)
