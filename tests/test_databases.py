"""Databases: with a replica that lags behind, everything works; no record of ours is ever looked for there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connections

from orderhooks import models
from tests.factories import make_attempt, make_delivery
from tests.project_flow import live_through
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

# Receivers of webhooks name the database for each statement.
OF_RECEIVERS = {"Receipt", "LatestSequence"}


@pytest.fixture
def replica(settings, tmp_path: Path, django_db_blocker) -> Iterator[None]:
    """A database without a single table: Django's test case lets nobody ask it anything at all."""
    connections.settings["replica"] = connections.settings["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "replica.sqlite3"),
        "OPTIONS": {},
    }
    settings.DATABASE_ROUTERS = ["tests.routers.ReadsFromAReplica"]
    try:
        yield
    finally:
        connections["replica"].close()
        del connections["replica"]
        del connections.settings["replica"]


def test_a_replica_that_lags_behind_is_no_hindrance(replica: None, receiver: RecordingReceiver) -> None:
    live_through(receiver)


@pytest.mark.parametrize(
    "model", [model for model in apps.get_app_config("orderhooks").get_models() if model.__name__ not in OF_RECEIVERS]
)
def test_each_record_is_read_where_it_is_written(replica: None, model) -> None:
    assert model._default_manager.db == "default"
    assert model._default_manager.all().db == "default"
    list(model._default_manager.all()[:1])
    list(model._default_manager.raw(f"SELECT * FROM {model._meta.db_table}"))
    assert model._default_manager.using("replica").db == "replica"


def test_related_records_are_read_there_too(replica: None) -> None:
    attempt = make_attempt(make_delivery())
    attempt = models.Attempt.objects.get(pk=attempt.pk)
    assert attempt.delivery.event.deliveries.get() == attempt.delivery
    assert attempt.delivery.subscription.secrets.count() == 1
    attempt.refresh_from_db()
