"""Endpoints are dead, slow, flighty or come back: no other endpoint notices, and nothing is lost."""

import time

from tests.chaos.conftest import Chaos
from tests.chaos.ledger import Answer, Entry
from tests.chaos.names import SILENT
from tests.chaos.reckoning import TOO_LATE
from tests.chaos.sites import wait_until

MANY = 5_000


def test_thousands_due_at_once_go_out_when_their_endpoint_comes_back(chaos: Chaos) -> None:
    """Five thousand wait for an endpoint that refuses connections: once it is back each arrives, once."""
    door = chaos.ledger.new_door()
    door.close()
    site = chaos.site()
    site.subscribe("/away", door=door)
    site.start_cluster()
    site.shop.call("owe", count=MANY)
    site.shop.call("minute_passes")
    wait_until(lambda: site.shop.call("states").get("pending", 0) >= MANY, 30, "deliveries that wait")
    time.sleep(chaos.random.uniform(1.0, 4.0))
    door.open()
    site.settle(90)
    assert chaos.reckon(site).received > MANY


def test_dead_and_dripping_endpoints_cost_the_healthy_nothing(chaos: Chaos) -> None:
    """One refuses, one hangs, one drips a byte a second: the healthy have everything while those are still at it."""
    site = chaos.site()
    dead = chaos.ledger.new_door()
    dead.close()
    bad = [site.subscribe("/dead", door=dead), site.subscribe("/drips"), site.subscribe("/hangs")]
    healthy = [f"/healthy/{number}" for number in range(chaos.random.randint(3, 8))]
    for path in healthy:
        site.subscribe(path)
    chaos.ledger.answers |= {"/drips": Answer(drips=True), "/hangs": Answer(hangs=True)}
    site.start_cluster()
    with site.trade(80, 0.02):
        pass
    wait_until(
        lambda: site.shop.call("states", subscription__url__contains="/healthy/").keys() <= {"delivered"},
        10,
        "everything at the healthy ones",
    )
    assert site.shop.call("states", subscription__in=bad).keys() & {"pending", "sending"}
    for subscription in bad:
        site.shop.call("pause", subscription=subscription)
    site.settle(20)
    chaos.reckon(site, ends={subscription: {"pending", "failed"} for subscription in bad})


def test_sixteen_that_accept_and_never_respond_cost_the_healthy_nothing(chaos: Chaos) -> None:
    """All of them new and due at once: the healthy have everything while those still hang."""
    site = chaos.site()
    bad = [site.subscribe(f"/tarpit/{number}") for number in range(16)]
    healthy = [f"/healthy/{number}" for number in range(chaos.random.randint(3, 8))]
    for path in healthy:
        site.subscribe(path)
    chaos.ledger.answers |= {f"/tarpit/{number}": Answer(hangs=True) for number in range(16)}
    site.start_cluster()
    with site.trade(80, 0.02):
        pass
    wait_until(
        lambda: site.shop.call("states", subscription__url__contains="/healthy/").keys() <= {"delivered"},
        10,
        "everything at the healthy ones",
    )
    assert site.shop.call("states", subscription__in=bad).keys() & {"pending", "sending"}
    for subscription in bad:
        site.shop.call("pause", subscription=subscription)
    site.settle(30)
    chaos.reckon(site, ends={subscription: {"pending", "failed"} for subscription in bad})


def test_names_whose_server_never_responds_cost_the_healthy_nothing(chaos: Chaos) -> None:
    """The server of sixteen names is silent: the healthy have everything while those are still looked up."""
    site = chaos.site()
    bad = [site.subscribe(f"/silent/{number}", host=f"{number}{SILENT}") for number in range(16)]
    healthy = [f"/healthy/{number}" for number in range(chaos.random.randint(3, 8))]
    for path in healthy:
        site.subscribe(path)
    site.start_cluster()
    with site.trade(80, 0.02):
        pass
    wait_until(
        lambda: site.shop.call("states", subscription__url__contains="/healthy/").keys() <= {"delivered"},
        10,
        "everything at the healthy ones",
    )
    assert site.shop.call("states", subscription__in=bad).keys() & {"pending", "sending"}
    for subscription in bad:
        site.shop.call("pause", subscription=subscription)
    site.settle(30)
    chaos.reckon(site, ends={subscription: {"pending", "failed"} for subscription in bad})
    assert not any(entry.path.startswith("/silent/") for entry in chaos.ledger.entries)


def test_an_endpoint_that_changes_its_mind_gets_everything(chaos: Chaos) -> None:
    """500, 503, 429, silence, 2xx after the deadline and 2xx in any order: each event is taken in the end."""
    site = chaos.site(orderhooks={"TIMEOUT_SECONDS": 1})
    site.subscribe("/flighty")

    def answer(entry: Entry, number: int) -> Answer:
        # At most two bad ones in a row: its rests double with each, and would outlast the row.
        if number > 30 or number % 3 == 0:
            return Answer()
        return chaos.random.choice(
            [Answer(), Answer(), Answer(500), Answer(503), Answer(429), Answer(hangs=True), Answer(after=1.5)]
        )

    chaos.ledger.answers["/flighty"] = answer
    site.start_cluster()
    site.place(50)
    site.settle(90)
    chaos.reckon(site, causes={TOO_LATE})


def test_an_endpoint_that_is_gone_gets_no_more_requests(chaos: Chaos) -> None:
    """410: disabled at once; its deliveries are held, and go out when an operator resumes it."""
    site = chaos.site()
    gone = site.subscribe("/gone")
    site.subscribe("/other")
    chaos.ledger.answers["/gone"] = Answer(410)
    site.start_cluster()
    site.place(30)
    site.settle(30)
    asked = len(chaos.ledger.at("/gone"))
    site.place(20)
    site.settle(30)
    assert len(chaos.ledger.at("/gone")) == asked
    chaos.ledger.answers["/gone"] = Answer()
    assert site.shop.call("resume", subscription=gone) == 1
    site.settle(30)
    chaos.reckon(site)
