"""`orderhooks_replay` sends the events of a time again, counted first and watched."""

import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from orderhooks import tasks
from orderhooks.management.commands import orderhooks_replay
from orderhooks.models import Delivery, Replay, Subscription
from tests.commands.calls import called
from tests.factories import make_delivery, make_event_at, make_replay, make_subscription
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


def make_past(receiver: RecordingReceiver) -> Subscription:
    """A subscription that an hour ago got one event, and failed to get another."""
    crm = make_subscription(name="CRM", url=receiver.url)
    an_hour_ago = timezone.now() - timedelta(hours=1)
    for state in (Delivery.State.DELIVERED, Delivery.State.FAILED):
        make_delivery(event=make_event_at(an_hour_ago), subscription=crm, state=state)
    return crm


def test_a_dry_run_counts_and_sends_nothing(receiver: RecordingReceiver) -> None:
    make_past(receiver)
    assert called("orderhooks_replay", "CRM", "--since", "2h", "--dry-run") == "It would send 2 deliveries to CRM.\n"
    assert "send 1 deliveries" in called("orderhooks_replay", "CRM", "--since", "2h", "--dry-run", "--only", "failed")
    assert "send 0 deliveries" in called("orderhooks_replay", "CRM", "--since", "30m", "--dry-run")
    assert "send 0 deliveries" in called("orderhooks_replay", "CRM", "--since", "2h", "--until", "90m", "--dry-run")
    assert "send 0" in called("orderhooks_replay", "CRM", "--since", "2h", "--topic", "order.refunded", "--dry-run")
    assert not Replay.objects.exists()


@pytest.fixture
def worker_between_looks(monkeypatch) -> None:
    """SQLite in memory is one connection, so no worker can be at work beside the command: it is between two looks."""
    monkeypatch.setattr(orderhooks_replay.Command, "wait", staticmethod(lambda _seconds: tasks.pump()))


@pytest.mark.usefixtures("worker_between_looks")
def test_it_is_done_by_workers_while_the_command_watches(receiver: RecordingReceiver) -> None:
    make_past(receiver)
    lines = called("orderhooks_replay", "CRM", "--since", "2h").splitlines()
    replay = Replay.objects.get()
    assert lines == [
        f"{replay.public_id}: sends 2 deliveries to CRM again.",
        "No worker has ever been seen. Start `manage.py qcluster`; if one runs and does nothing, restart it. "
        "The replay begins when one is at work.",
        "done: 2 deliveries are sent, or wait for their turn.",
    ]
    assert len(receiver.received) == 2
    assert replay.requested_by.endswith(" at the command line")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("worker_between_looks")
def test_a_terminal_gets_a_bar(receiver: RecordingReceiver) -> None:
    make_past(receiver)
    terminal = Terminal()
    call_command("orderhooks_replay", "CRM", "--since", "2h", stdout=terminal, no_color=True)
    bars = terminal.getvalue().split("\r")[1:]
    assert bars[0] == f"[{' ' * 30}]   0%  0 deliveries"
    assert bars[-1].startswith(f"[{'=' * 30}] 100%  2 deliveries\n")


def test_ctrl_c_ends_the_watching_alone(monkeypatch) -> None:
    make_subscription(name="CRM")

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(orderhooks_replay.Command, "wait", staticmethod(interrupted))
    printed = called("orderhooks_replay", "CRM", "--since", "2h")
    replay = Replay.objects.get()
    assert replay.state == Replay.State.RUNNING
    assert f"It goes on. `manage.py orderhooks_replay --cancel {replay.public_id}` cancels it." in printed


def test_nobody_need_wait() -> None:
    make_subscription(name="CRM")
    assert len(called("orderhooks_replay", "CRM", "--since", "2h", "--no-wait").splitlines()) == 1


def test_a_replay_can_be_cancelled() -> None:
    replay = make_replay(done=3)
    assert called("orderhooks_replay", "--cancel", replay.public_id) == "Cancelled; 3 deliveries had been made due.\n"
    replay.refresh_from_db()
    assert replay.state == Replay.State.CANCELLED
    assert called("orderhooks_replay", "--cancel", replay.public_id).startswith("It was already cancelled")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name a subscription, and give the start of the period with --since: 2h, 3d"),
        (["CRM"], "Name a subscription"),
        (["CRM", "--since", "soon"], "'soon' is not a valid time"),
        (["CRM", "--since", "2h", "--until", "3h"], "`since` must be a time before `until`"),
        (["CRM", "--since", "2h", "--topic", "order.pade"], "order.pade"),
        (["Nobody", "--since", "2h"], "No subscription has the id or name"),
        (["--cancel", "rpl_1"], "There is no replay 'rpl_1'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(arguments: list[str], words: str) -> None:
    make_subscription(name="CRM")
    with pytest.raises(CommandError, match=words):
        called("orderhooks_replay", *arguments)
    assert not Replay.objects.exists()
