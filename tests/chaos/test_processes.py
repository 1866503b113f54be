"""Processes die, sleep, are ended and are many: what was committed arrives."""

import pytest

from tests.chaos.conftest import Chaos

EVERYWHERE = pytest.mark.parametrize("vendor", ["postgres", "mariadb", "sqlite"])
ON_SERVERS = pytest.mark.parametrize("vendor", ["postgres", "mariadb"])


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
