"""The store's own code fails while it describes an order: the save goes through, others arrive, all is on record."""

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.reckoning import KILLED


@pytest.mark.parametrize("vendor", ["postgres", "sqlite"])
def test_payloads_that_no_json_can_hold_hold_up_nothing(chaos: Chaos, vendor: str) -> None:
    """Unserialisable objects, NaN and 20 MB: the order is saved, its event stays on record with the reason and arrives
    once the code is fixed."""
    site = chaos.site(vendor)
    site.subscribe("/all")
    site.start_cluster()
    notes = ["unserialisable", "nan", "huge"]
    chaos.random.shuffle(notes)
    for note in notes:
        site.place(chaos.random.randint(1, 20))
        site.shop.call("place_one", note=note)
    site.settle(60)
    chaos.reckon(site, unpublished=3)
    site.shop.call("edit_notes", note="")
    assert site.shop.call("republish") == [True, True, True]
    site.settle(30)
    chaos.reckon(site)


def test_a_payload_that_kills_its_worker_ends_on_record(chaos: Chaos) -> None:
    """The code calls `os._exit` wherever it is run: the others arrive, the event has its reason, and after a few dead
    workers no more die; repaired, it arrives."""
    site = chaos.site()
    site.subscribe("/all")
    cluster = site.start_cluster()
    shop = site.open_shop()
    shop.begin("place_one", note="deadly")
    assert shop.process.wait(20) == 137
    with site.trade(150, 0.05):
        site.place(20)
    site.kills += 1
    site.settle(90)
    assert 0 < cluster.log.read_text().count("after death") <= 3
    chaos.reckon(site, unpublished=1, causes={KILLED})
    site.shop.call("edit_notes", note="")
    assert site.shop.call("republish") == [True]
    site.settle(30)
    chaos.reckon(site, causes={KILLED})
