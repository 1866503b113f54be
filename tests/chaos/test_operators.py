"""Operators change subscriptions while deliveries wait: the next attempt goes by what they said."""

import time

import pytest

from orderhooks.receiver import InvalidWebhookError, verify
from tests.chaos.conftest import Chaos
from tests.chaos.ledger import Answer
from tests.chaos.sites import Site, wait_until


@pytest.fixture
def waiting(chaos: Chaos) -> Site:
    """A site with a subscription to /first at which everything fails and waits, and another that is well."""
    site = chaos.site()
    site.subscribe("/first")
    site.subscribe("/other")
    chaos.ledger.answers["/first"] = Answer(500)
    site.start_cluster()
    site.place(chaos.random.randint(20, 40))
    wait_until(lambda: len(chaos.ledger.at("/first")) > chaos.random.randint(5, 30), 20, "attempts that fail")
    return site


def test_a_secret_that_is_rotated_signs_from_the_next_attempt_on(chaos: Chaos, waiting: Site) -> None:
    """The old one is revoked while attempts wait: what arrives afterwards is signed by the new one and not by it."""
    first = waiting.subscriptions[0]
    new = waiting.shop.call("rotate_secret", subscription=first.key, overlap_seconds=0)
    time.sleep(3)  # what was claimed before is through
    chaos.ledger.answers["/first"] = Answer()
    waiting.place(10)
    waiting.settle(40)
    chaos.reckon(waiting)
    for entry in chaos.ledger.at("/first"):
        if entry.succeeded:
            assert verify(entry.body, entry.headers, new).id == entry.event
            with pytest.raises(InvalidWebhookError):
                verify(entry.body, entry.headers, first.secret)


def test_a_url_that_is_changed_counts_from_the_next_attempt_on(chaos: Chaos, waiting: Site) -> None:
    """What waited for the old address arrives at the new one, under the same id; the old one is left alone."""
    first = waiting.subscriptions[0]
    first.paths.add("/second")
    waiting.shop.call("edit", subscription=first.key, url=waiting.door.url("/second"))
    time.sleep(3)
    asked = len(chaos.ledger.at("/first"))
    waiting.place(10)
    waiting.settle(40)
    assert len(chaos.ledger.at("/first")) == asked
    chaos.reckon(waiting)


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_a_stopped_subscription_holds_its_deliveries(chaos: Chaos, waiting: Site, state: str) -> None:
    """Nothing more is sent to it, nothing is dropped; resumed, it gets everything."""
    first = waiting.subscriptions[0]
    waiting.shop.call("edit", subscription=first.key, state=state)
    time.sleep(3)
    asked = len(chaos.ledger.at("/first"))
    waiting.place(10)
    waiting.settle(30)
    assert len(chaos.ledger.at("/first")) == asked
    chaos.ledger.answers["/first"] = Answer()
    assert waiting.shop.call("resume", subscription=first.key) == 1
    waiting.settle(40)
    chaos.reckon(waiting)


@pytest.mark.parametrize("vendor", ["postgres", "mariadb", "sqlite"])
def test_subscriptions_that_come_and_go_disturb_no_other(chaos: Chaos, vendor: str) -> None:
    """Made and deleted again and again under load, with deliveries waiting and under way: the one that stays gets
    everything once, and deleting never fails."""
    site = chaos.site(vendor)
    site.subscribe("/stays")
    site.start_cluster()
    chaos.ledger.answers["/guest"] = lambda entry, number: Answer(chaos.random.choice([200, 500]), after=0.1)
    other = site.open_shop()
    with site.trade(200, 0.02):
        for _ in range(8):
            [guest, _secret] = other.call("subscribe", url=site.door.url("/guest"), topics=["*"])
            time.sleep(chaos.random.uniform(0.0, 0.5))
            other.call("remove", subscription=guest)
    site.settle(30)
    entries = [entry for entry in chaos.ledger.entries if entry.path == "/stays"]
    chaos.reckon(site, entries=entries)
