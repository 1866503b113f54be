"""`orderhooks_doctor --reconcile`, and the worker's daily reconciliation."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from orderhooks import tasks
from orderhooks.models import Event, Reconciliation
from orderhooks.tasks import django_q
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _subscription() -> None:
    make_subscription()


def reconcile(*arguments: str, out: StringIO | None = None) -> str:
    out = out or StringIO()
    call_command("orderhooks_doctor", "--reconcile", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def failing_reconcile(*arguments: str) -> str:
    out = StringIO()
    with pytest.raises(CommandError) as raised:
        reconcile(*arguments, out=out)
    return f"{out.getvalue()}{raised.value}"


def write_behind_the_back(number: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orderhooks_order SET note = 'behind' WHERE number = %s", [number])


def test_it_says_that_all_is_well() -> None:
    make_order()
    text = reconcile()
    assert text.startswith("Orders compared with what was last published of them")
    assert text.endswith(": 1. None differs.\n")


def test_it_lists_the_differences_and_exits_with_an_error_until_they_are_published() -> None:
    make_order(number="1", store="berlin")
    make_order(number="2")
    write_behind_the_back("1")
    text = failing_reconcile()
    assert "order 1 (orderhooks, berlin): differs from what was last published\n" in text
    assert ": 2. Changed: 1. manage.py" in text
    assert text.endswith("Orders that differ and were not published: 1.")
    assert "The differences were published." in reconcile("--publish")
    assert Event.objects.latest("sequence").changes == {"note": ["", "behind"]}
    assert "None differs." in reconcile()


def test_json_is_a_line_for_each_difference_and_one_for_the_counts() -> None:
    for number in "12":
        make_order(number=number)
        write_behind_the_back(number)
    out = StringIO()
    with pytest.raises(CommandError):
        reconcile("--json", out=out)
    *lines, counts = (json.loads(line) for line in out.getvalue().splitlines())
    assert [(line["kind"], line["number"]) for line in lines] == [("changed", "1"), ("changed", "2")]
    assert (counts["compared"], counts["changed"], counts["published"]) == (2, 2, 0)


def test_since_leaves_out_older_orders() -> None:
    make_order(number="1", placed_at=timezone.now() - timedelta(days=3))
    write_behind_the_back("1")
    assert ": 0. None differs." in reconcile("--since", "2d")
    assert "order 1 (orderhooks)" in failing_reconcile("--since", "4d")


def test_a_terminal_gets_a_progress_bar_and_no_more_than_a_hundred_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderhooks.management.commands.orderhooks_doctor.MOST_SHOWN", 1)
    for number in "123":
        make_order(number=number)
        write_behind_the_back(number)
    out = Terminal()
    with pytest.raises(CommandError):
        reconcile(out=out)
    assert "order 1 (" in out.getvalue()
    assert "order 2 (" not in out.getvalue()
    assert out.getvalue().count("More are counted only") == 1
    assert "100%  3 of 3 orders" in out.getvalue()


def test_lines_are_cut_also_where_a_batch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderhooks.management.commands.orderhooks_doctor.MOST_SHOWN", 2)
    monkeypatch.setattr("orderhooks.reconciling.AT_ONCE", 2)
    for number in "1234":
        make_order(number=number)
        write_behind_the_back(number)
    text = failing_reconcile()
    assert text.count("\norder ") == 1
    assert text.count("More are counted only") == 1


def test_it_does_not_offer_to_publish_what_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise ValueError("no such rate")

    make_order(number="1")
    monkeypatch.setattr("orderhooks.sources.BuiltInOrders.payload", fail)
    text = failing_reconcile("--publish")
    assert "order 1 (orderhooks): can't be read: ValueError: no such rate" in text
    assert "Have the order source of those that can't be read fixed" in text
    assert "--publish" not in text


def test_since_is_a_time_before_now() -> None:
    with pytest.raises(CommandError, match="a time before now"):
        reconcile("--since", "2999-01-01")


def test_an_interrupted_reconciliation_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orderhooks.reconciling.advance", interrupted)
    assert "Cancelled." in failing_reconcile()
    assert Reconciliation.objects.get().state == "cancelled"


@pytest.mark.parametrize("arguments", [["--since", "2h"], ["--publish"]])
def test_its_options_need_reconcile(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="belong to --reconcile"):
        call_command("orderhooks_doctor", *arguments)


def test_the_doctor_and_the_dashboard_show_the_last_reconciliation(admin_client: Any) -> None:
    make_order(number="1")
    write_behind_the_back("1")
    failing_reconcile()
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("orderhooks_doctor", stdout=out, no_color=True)
    assert "warn  reconciliation: Orders compared with" in out.getvalue()
    page = admin_client.get("/admin/orderhooks/dashboard/").content.decode()
    assert ": 1. Changed: 1. " in page


@pytest.fixture
def _daily(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RECONCILE_DAYS": 2}
    settings.ADMINS = [("Ada", "ada@example.com")]


@pytest.mark.usefixtures("_daily")
def test_the_daily_task_reports_differences_by_email() -> None:
    make_order(number="1")
    make_order(number="old", placed_at=timezone.now() - timedelta(days=3))
    tasks.reconcile()
    assert mail.outbox == []
    write_behind_the_back("1")
    write_behind_the_back("old")
    tasks.reconcile()
    [message] = mail.outbox
    assert message.recipients() == ["ada@example.com"]
    assert ": 1. Changed: 1. " in message.body
    assert "“1” (orderhooks): changed" in message.body
    assert Reconciliation.objects.filter(state="done", is_scheduled=True).count() == 2


@pytest.mark.usefixtures("_daily")
def test_the_daily_task_goes_on_in_another_task_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    make_order()
    tasks.let_the_waker_finish()
    enqueued: list[str] = []
    monkeypatch.setattr(django_q, "async_task", lambda task, **_options: enqueued.append(task))
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", 1e-9)
    tasks.reconcile()
    running = Reconciliation.objects.get()
    assert running.state == "running"
    assert enqueued == [tasks.RECONCILE]
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", 60)
    tasks.reconcile()
    running.refresh_from_db()
    assert (running.state, running.compared) == ("done", 1)


def test_without_the_setting_there_is_no_daily_task(settings: Any) -> None:
    def names() -> list[str]:
        tasks.register_sweep()
        return sorted(Schedule.objects.values_list("name", flat=True))

    tasks.reconcile()
    assert not Reconciliation.objects.exists()
    assert names() == ["orderhooks prune", "orderhooks sweep"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RECONCILE_DAYS": 2}
    assert names() == ["orderhooks prune", "orderhooks reconcile", "orderhooks sweep"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SWEEP": False}
    assert names() == []
