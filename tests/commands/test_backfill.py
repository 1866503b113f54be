"""`orderhooks_backfill` sends the orders that are there, counted first and watched."""

from typing import Any

import pytest
from django.core.management.base import CommandError

from orderhooks import tasks
from orderhooks.management.commands import orderhooks_backfill
from orderhooks.models import Backfill
from tests.commands.calls import called
from tests.factories import make_backfill, make_order, make_subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker_between_looks(monkeypatch) -> None:
    """SQLite in memory is one connection, so no worker can be at work beside the command: it is between two looks."""
    monkeypatch.setattr(orderhooks_backfill.Command, "wait", staticmethod(lambda _seconds: tasks.pump()))


def test_a_dry_run_counts_and_sends_nothing() -> None:
    make_order()
    make_order(store="north")
    make_subscription(name="CRM")
    make_subscription(name="North", store="north")
    printed = called("orderhooks_backfill", "--to", "CRM", "--dry-run")
    assert printed == "It would send 2 orders to CRM as order.updated.\n"
    printed = called("orderhooks_backfill", "--to", "North", "--dry-run", "--topic", "order.created")
    assert printed == "It would send 1 order to North as order.created.\n"
    assert not Backfill.objects.exists()


@pytest.mark.usefixtures("worker_between_looks")
def test_it_is_done_by_workers_while_the_command_watches(receiver: RecordingReceiver) -> None:
    make_order()
    make_order()
    make_subscription(name="CRM", url=receiver.url)
    lines = called("orderhooks_backfill", "--to", "CRM", "--since", "2h", "--rate", "50").splitlines()
    backfill = Backfill.objects.get()
    assert lines == [
        f"{backfill.public_id}: sends 2 orders to CRM as order.updated, at most 50 a second.",
        "No worker has ever been seen. Start `manage.py qcluster`; if one runs and does nothing, restart it. "
        "The backfill begins when one is at work.",
        "done: 2 deliveries are sent, or wait for their turn.",
    ]
    assert receiver.topics == ["order.updated", "order.updated"]
    assert backfill.since is not None
    assert backfill.requested_by.endswith(" at the command line")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "done", "failed": 3, "first_error": "Order 7: ValueError: no"}, "3 orders could not be read. Order"),
        ({"state": "cancelled", "done": 4}, "cancelled: 4 deliveries are sent"),
    ],
)
def test_the_end_says_what_came_of_it(monkeypatch, fields: dict[str, Any], words: str) -> None:
    make_subscription(name="CRM")

    def end(_seconds: float) -> None:
        Backfill.objects.update(finished_at="2026-11-28T10:00Z", **fields)

    monkeypatch.setattr(orderhooks_backfill.Command, "wait", staticmethod(end))
    assert words in called("orderhooks_backfill", "--to", "CRM")


def test_one_that_can_not_go_on_fails_the_command(monkeypatch) -> None:
    make_subscription(name="CRM")

    def end(_seconds: float) -> None:
        Backfill.objects.update(state="failed", finished_at="2026-11-28T10:00Z", error="The source is gone.")

    monkeypatch.setattr(orderhooks_backfill.Command, "wait", staticmethod(end))
    with pytest.raises(CommandError, match=r"The source is gone\."):
        called("orderhooks_backfill", "--to", "CRM")


def test_ctrl_c_ends_the_watching_alone(monkeypatch) -> None:
    make_subscription(name="CRM")

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(orderhooks_backfill.Command, "wait", staticmethod(interrupted))
    printed = called("orderhooks_backfill", "--to", "CRM")
    backfill = Backfill.objects.get()
    assert backfill.state == Backfill.State.RUNNING
    assert f"It goes on. `manage.py orderhooks_backfill --cancel {backfill.public_id}` cancels it." in printed


def test_nobody_need_wait_and_it_can_be_cancelled() -> None:
    make_subscription(name="CRM")
    assert len(called("orderhooks_backfill", "--to", "CRM", "--no-wait").splitlines()) == 1
    backfill = Backfill.objects.get()
    assert called("orderhooks_backfill", "--cancel", backfill.public_id) == "Cancelled; 0 deliveries had been made.\n"
    backfill.refresh_from_db()
    assert backfill.state == Backfill.State.CANCELLED
    assert called("orderhooks_backfill", "--cancel", backfill.public_id).startswith("It was already cancelled")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name the subscription with --to"),
        (["--to", "Nobody"], "No subscription has the id or name"),
        (["--to", "CRM", "--since", "soon"], "'soon' is not a valid time"),
        (["--to", "CRM", "--topic", "order.pade"], "Did you mean 'order.paid'"),
        (["--to", "CRM", "--topic", "order.paid"], r"CRM does not want order\.paid"),
        (["--to", "CRM", "--rate", "0"], "from 1 to 1000 orders a second"),
        (["--to", "CRM", "--source", "shop"], "There is no order source 'shop'. Choose one of: orderhooks"),
        (["--to", "Busy"], "is still running for Busy"),
        (["--cancel", "bfl_1"], "There is no backfill 'bfl_1'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(arguments: list[str], words: str) -> None:
    make_subscription(name="CRM", topics=["order.updated"])
    running = make_backfill(subscription=make_subscription(name="Busy"))
    with pytest.raises(CommandError, match=words):
        called("orderhooks_backfill", *arguments)
    assert list(Backfill.objects.all()) == [running]
