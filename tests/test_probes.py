"""The probes: what makes each fail, what it only shows, how long it waits, and what strangers get to see."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from orderhooks import tasks
from orderhooks.health import probes
from orderhooks.health.looks import Look
from orderhooks.models import Pump
from orderhooks.tasks.names import SWEEP_SCHEDULE
from tests.factories import make_delivery, make_subscription

ALL_WELL = {"status": "ok", "database": "ok", "migrations": "ok", "worker": "ok", "broker": "ok"}


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    probes.DATABASE.forget()
    probes.BROKER.forget()
    yield
    probes.DATABASE.forget()
    probes.BROKER.forget()


@pytest.fixture
def at_work(transactional_db: None) -> Pump:
    tasks.register_sweep()
    return Pump.start(now=timezone.now())


def body(path: str, *, status: int) -> dict[str, str]:
    response = Client().get(path)
    assert response.status_code == status
    assert response["cache-control"] == "no-store"
    found: dict[str, str] = json.loads(response.content)
    return found


@pytest.mark.django_db
def test_a_probe_that_is_refused_is_no_error_in_the_log(caplog) -> None:
    """Django mails those to ADMINS: one for each look."""
    assert body("/health/worker/", status=503)["worker"] != "ok"
    assert [one for one in caplog.records if one.name == "django.request"] == []


class TestLive:
    def test_it_uses_no_database(self, monkeypatch) -> None:
        # No mark: pytest-django lets no query pass. With ATOMIC_REQUESTS Django begins a transaction for each view.
        monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
        assert body("/health/live/", status=200) == {"status": "ok"}

    @pytest.mark.parametrize("path", ["live", "worker", "ready"])
    @pytest.mark.parametrize("method", ["post", "put", "delete", "options"])
    def test_only_get_and_head_are_allowed(self, path: str, method: str) -> None:
        response = getattr(Client(), method)(f"/health/{path}/")
        assert (response.status_code, response["allow"]) == (405, "GET, HEAD")

    def test_head_has_no_body(self) -> None:
        response = Client().head("/health/live/")
        assert (response.status_code, response.content) == (200, b"")

    def test_a_project_that_wants_a_login_for_each_page_needs_none_here(self, settings, at_work) -> None:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
        settings.REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"]}
        for path in ("live", "ready", "worker"):
            body(f"/health/{path}/", status=200)


class TestReady:
    def test_all_is_well(self, at_work) -> None:
        assert body("/health/ready/", status=200) == ALL_WELL
        assert body("/health/", status=200) == ALL_WELL

    def test_a_missing_worker_is_shown_and_takes_no_web_process_out_of_rotation(self, transactional_db) -> None:
        tasks.register_sweep()
        assert body("/health/ready/", status=200) == {**ALL_WELL, "worker": "missing"}

    def test_a_broker_that_is_gone_is_only_shown(self, at_work, monkeypatch) -> None:
        monkeypatch.setattr(probes.BROKER, "look", lambda: not tasks.broker_problem())
        monkeypatch.setattr("orderhooks.tasks.django_q.get_broker", lambda: socket.create_connection(("127.0.0.1", 9)))
        assert body("/health/ready/", status=200) == {**ALL_WELL, "broker": "unreachable"}

    def test_a_migration_that_is_not_applied_makes_it_fail(self, at_work) -> None:
        MigrationRecorder(connection).record_unapplied("orderhooks", "0001_initial")
        try:
            expected = {**ALL_WELL, "status": "failed", "migrations": "missing", "worker": "unknown"}
            assert body("/health/ready/", status=503) == expected
        finally:
            MigrationRecorder(connection).record_applied("orderhooks", "0001_initial")

    def test_migrations_of_later_code_are_no_fault(self, at_work) -> None:
        MigrationRecorder(connection).record_applied("orderhooks", "0002_of_the_next_release")
        try:
            body("/health/ready/", status=200)
        finally:
            MigrationRecorder(connection).record_unapplied("orderhooks", "0002_of_the_next_release")

    def test_a_database_that_refuses_makes_it_fail(self, at_work, monkeypatch, caplog) -> None:
        if connection.vendor == "sqlite":
            # A connection to another file would close the tests' own, which is in memory.
            monkeypatch.setattr(probes, "own_database", lambda: (_ for _ in ()).throw(OperationalError("gone")))
        else:
            monkeypatch.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
            monkeypatch.setitem(connections["default"].settings_dict, "PORT", 9)
        monkeypatch.setattr(probes.BROKER, "look", lambda: True)
        expected = {"database": "unreachable", "migrations": "unknown", "worker": "unknown", "broker": "ok"}
        assert body("/health/ready/", status=503) == {"status": "failed", **expected}
        assert "the look at the database failed: OperationalError" in caplog.text

    def test_a_database_that_never_responds_makes_it_fail_in_time(self, at_work, monkeypatch) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("SQLite is a file")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
            monkeypatch.setitem(connections["default"].settings_dict, "PORT", silent.getsockname()[1])
            monkeypatch.setattr(probes.DATABASE, "wait_seconds", 0.2)
            monkeypatch.setattr(probes.BROKER, "look", lambda: True)
            assert body("/health/ready/", status=503)["database"] == "unreachable"
            run = probes.DATABASE._run
            assert run is not None
            assert run.is_alive(), "it still waits for the server"
            # Asked again, it neither waits nor opens a second connection.
            assert body("/health/worker/", status=503) == {"status": "failed", "worker": "unknown"}
            assert probes.DATABASE._run is run
        run.join(20)
        assert not run.is_alive()

    def test_strangers_see_words_alone(self, at_work) -> None:
        subscription = make_subscription(name="Secret CRM", url="https://crm.example.com/hook", state="disabled")
        for _ in range(3):
            make_delivery(subscription=subscription)
        for path in ("ready", "worker"):
            words = body(f"/health/{path}/", status=200)
            assert set(words.values()) <= {"ok", "failed", "missing", "unreachable", "unknown"}
            assert set(words) <= set(ALL_WELL)


class TestWorker:
    @pytest.mark.parametrize(
        ("seen_minutes", "sweep_minutes", "status"),
        [
            (0, 0, 200),
            (1, 0, 200),  # between two sweeps
            (5, 0, 503),
            (1.9, 3, 503),  # the sweep is late: nobody starts a worker any more
            (1, 3, 200),  # it was due often, and one ran since: django-q2 makes up for an outage
        ],
    )
    def test_it_fails_without_a_worker(self, transactional_db, seen_minutes, sweep_minutes, status) -> None:
        from django_q.models import Schedule

        now = timezone.now()
        tasks.register_sweep()
        Schedule.objects.filter(name=SWEEP_SCHEDULE).update(next_run=now - timedelta(minutes=sweep_minutes))
        Pump.objects.create(beat_at=now - timedelta(minutes=seen_minutes), ended=seen_minutes > 0)
        word = "ok" if status == 200 else "missing"
        assert body("/health/worker/", status=status) == {"status": "ok" if status == 200 else "failed", "worker": word}

    def test_it_fails_if_no_worker_was_ever_seen(self, transactional_db) -> None:
        assert body("/health/worker/", status=503) == {"status": "failed", "worker": "missing"}


class TestLook:
    def test_many_probes_share_one_look(self) -> None:
        looks: list[int] = []
        look = Look("test", lambda: len(looks), wait_seconds=5, fresh_seconds=60)
        look.look = lambda: looks.append(1) or len(looks)  # type: ignore[func-returns-value]
        assert [look.found() for _ in range(50)] == [1] * 50
        assert len(looks) == 1

    def test_it_looks_again_when_what_it_found_is_old(self) -> None:
        found = iter(["first", "second"])
        look = Look("test", lambda: next(found), wait_seconds=5, fresh_seconds=0)
        assert [look.found(), look.found()] == ["first", "second"]

    def test_one_that_hangs_is_waited_for_once_and_begun_once(self, caplog) -> None:
        release, begun = threading.Event(), []

        def hang() -> str:
            begun.append(threading.current_thread())
            release.wait(20)
            return "late"

        look = Look("test", hang, wait_seconds=0.05, fresh_seconds=60)
        assert [look.found() for _ in range(5)] == [None] * 5
        assert len(begun) == 1
        assert caplog.text.count("takes longer than") == 1
        release.set()
        begun[0].join(20)
        assert look.found() == "late", "what comes late holds from then on"

    def test_a_failure_is_no_finding_and_the_log_says_why(self, caplog) -> None:
        nothing: dict[str, str] = {}
        look = Look("test", lambda: nothing["x"], wait_seconds=5, fresh_seconds=60)
        assert look.found() is None
        assert "the look at the test failed: KeyError" in caplog.text

    def test_a_look_that_a_fork_left_behind_is_begun_again(self) -> None:
        look = Look("test", lambda: "found", wait_seconds=5, fresh_seconds=60)
        look.found()
        run: Any = look._run
        run.found = run.ended_at = None  # as in the child of a fork, where the thread does not exist
        assert look.found() == "found"


def test_all_shipped_migrations_are_looked_for_and_no_other_file() -> None:
    folder = Path(import_module("orderhooks.migrations").__path__[0])
    assert probes._shipped_migrations() == {path.stem for path in folder.glob("[0-9]*.py")}
