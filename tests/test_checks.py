"""Misconfigured settings are reported at start-up, with an id and a hint."""

import pytest
from django.core.checks import run_checks

from orderhooks import checks, conf
from orderhooks.models import Event
from orderhooks.sources import BuiltInOrders, Lines, OrderSource

# Django 6.1 queries the database for its part of the checks.
pytestmark = pytest.mark.django_db


def found(**_kwargs) -> dict[str, str]:
    return {one.id: f"{one.msg} {one.hint}" for one in run_checks() if one.id and one.id.startswith("orderhooks")}


class NoModel(OrderSource):
    name = "x"
    model = "nowhere.Order"


class NoColumn(BuiltInOrders):
    watched = ("lines",)


class NoTopic(BuiltInOrders):
    transitions = {"status": {"open": "order.exploded"}}


class NoLines(BuiltInOrders):
    lines = Lines("orderhooks.OrderLine", "order", ("colour",))


BAD = [
    ({"TIMEOUT_SECOND": 3}, "E001", "Did you mean 'TIMEOUT_SECONDS'?"),
    ({"whatever": 3}, "E001", "The settings are:"),
    ([], "E001", "is not a dict"),
    ({"SOURCES": "orderhooks.sources.BuiltInOrders"}, "E002", "Give a list"),
    ({"SOURCES": ["nowhere.Orders"]}, "E048", "can't be imported"),
    ({"SOURCES": ["orderhooks.conf.Settings"]}, "E048", "not an OrderSource class"),
    ({"SOURCES": ["tests.test_checks.NoModel"]}, "E041", "can't be found"),
    ({"SOURCES": ["tests.test_checks.NoColumn"]}, "E042", "no column 'lines'"),
    ({"SOURCES": ["tests.test_checks.NoTopic"]}, "E045", "order.exploded"),
    ({"SOURCES": ["tests.test_checks.NoLines"]}, "E042", "no column 'colour'"),
    ({"TOPICS": ["order.wrapped"]}, "E003", "Give a dict"),
    ({"TOPICS": {"Wrapped": "x"}}, "E003", "lower-case"),
    ({"TOPICS": {"order.wrapped": ""}}, "E003", "sentence"),
    ({"FORMATS": ["tests.store_formats.Erp"]}, "E070", "Give a dict"),
    ({"FORMATS": {"My ERP": "tests.store_formats.Erp"}}, "E070", "not a valid name"),
    ({"FORMATS": {"form": "tests.store_formats.Erp"}}, "E070", "a built-in format"),
    ({"FORMATS": {"erp": None}}, "E070", "not a text"),
    ({"FORMATS": {"erp": "nowhere.Erp"}}, "E070", "can't be imported"),
    ({"FORMATS": {"erp": "orderhooks.conf.Settings"}}, "E070", "derives from orderhooks.formats.Format"),
    ({"FORMATS": {"erp": "tests.store_formats.NeedsArgument"}}, "E070", "need no arguments"),
    ({"FORMATS": {"erp": "tests.store_formats.BadType"}}, "E070", "'application/xml'"),
    ({"FORMATS": {"erp": "tests.store_formats.NoEncode"}}, "E070", "no method encode"),
    ({"BASE_URL": "shop.example.com"}, "E071", "https://shop.example.com"),
    ({"BASE_URL": "https://shop.example.com/"}, "E071", "without a slash"),
    ({"BASE_URL": "https://shop.example.com/?a=b"}, "E071", "without a slash"),
    ({"REQUEST_ORIGIN": "https://shop.example.com"}, "E072", "DNS name"),
    ({"REQUIRE_HTTPS": "no"}, "E004", "True or False"),
    ({"ALLOWED_NETWORKS": "10.0.0.0/8"}, "E012", "Give a list of networks"),
    ({"ALLOWED_NETWORKS": ["10.0.0.1/8"]}, "E012", "'10.0.0.1/8' is not a network"),
    ({"ALLOWED_NETWORKS": [10]}, "E012", "CIDR notation"),
    ({"EGRESS_PROXY": "proxy:3128"}, "E013", "Give the proxy's URL"),
    ({"CA_BUNDLE": "/nowhere.pem"}, "E014", "PEM file"),
    ({"TIMEOUT_SECONDS": 0}, "E005", "seconds"),
    ({"TIMEOUT_SECONDS": True}, "E005", "seconds"),
    ({"RETRY_SCHEDULE": 5}, "E006", "list of seconds"),
    ({"RETRY_SCHEDULE": [-1]}, "E006", "list of seconds"),
    ({"DISABLE_AFTER_DAYS": 0}, "E007", "days"),
    ({"WORKER_THREADS": 1.5}, "E008", "whole number"),
    ({"MAX_IN_FLIGHT": 0}, "E015", "whole number"),
    ({"MAX_IN_FLIGHT_PER_HOST": "many"}, "E016", "whole number"),
    ({"LINGER_SECONDS": -1}, "E009", "seconds"),
    ({"RETENTION_DAYS": 0}, "E017", "days"),
    ({"SWEEP": None}, "E010", "True or False"),
    ({"STORES_FOR_USER": "nowhere.stores_of"}, "E018", "can't be imported"),
    ({"STORES_FOR_USER": 3}, "E018", "can't be imported"),
    ({"STORES_FOR_USER": "orderhooks.conf.HOUR"}, "E018", "is not a function"),
    ({"API_RATES": {"test": "often"}}, "E019", "30/min"),
    ({"API_RATES": {"orders": "1/s"}}, "E019", "some of: test, replay, redeliver"),
    ({"API_RATES": ["1/s"]}, "E019", "Give a dict"),
    ({"ENCRYPTION_KEYS": "one long text that is no list"}, "E011", "list of texts"),
    ({"ENCRYPTION_KEYS": ["short"]}, "E011", "16 characters"),
    ({"COALESCE_IN_WORKER": 1}, "E077", "True or False"),
    ({"ENCRYPT_PAYLOADS": "yes"}, "E076", "True or False"),
    ({"FEED_WAITERS": -1}, "E074", "0 to 1000"),
    ({"METRICS_TOKEN": "short"}, "E073", "at least 16"),
    ({"METRICS_TOKEN": "with a blank in its middle"}, "E073", "without blanks"),
    ({"METRICS_TOKEN": 1234567890123456}, "E073", "Give a text"),
]


@pytest.mark.parametrize(("given", "check_id", "hint"), BAD)
def test_a_wrong_setting_is_an_error_with_a_hint(settings, given, check_id: str, hint: str) -> None:
    settings.ORDERHOOKS = given
    assert hint in found()[f"orderhooks.{check_id}"]


def test_every_setting_has_a_judge_with_an_id_of_its_own() -> None:
    assert set(checks.JUDGES) == set(conf.KEYS)
    ids = [check_id for check_id, _judge in checks.JUDGES.values()]
    assert len(set(ids)) == len(ids)


def test_the_tests_own_settings_and_the_defaults_are_fine(settings) -> None:
    assert found() == {}
    settings.ORDERHOOKS = {"STORES_FOR_USER": "orderhooks.conf.current", "API_RATES": {"test": "2/s", "replay": None}}
    assert found() == {}
    del settings.ORDERHOOKS
    assert found() == {}


@pytest.mark.parametrize(
    ("cluster", "check_id"),
    [
        (None, "E020"),
        ({"orm": "default"}, "W021"),
        ({"orm": "default", "timeout": 10, "retry": 20}, "W021"),
        ({"orm": "default", "timeout": 60, "retry": 60}, "W022"),
    ],
)
def test_a_queue_that_does_not_fit_is_reported(settings, cluster, check_id: str) -> None:
    settings.Q_CLUSTER = cluster
    assert f"orderhooks.{check_id}" in found()


def test_a_database_that_returns_no_keys_is_refused(monkeypatch) -> None:
    """As MySQL: MariaDB does."""
    from django.db import connections

    monkeypatch.setattr(type(connections["default"].features), "can_return_rows_from_bulk_insert", False)
    [message] = checks.check_database(databases=["default"])
    assert message.id == "orderhooks.E078"


def test_sqlite_without_the_write_lock_is_reported(settings) -> None:
    from django.db import connections

    if connections["default"].vendor != "sqlite":
        pytest.skip("this run is on another database")
    options = connections["default"].settings_dict["OPTIONS"]
    mode = options.pop("transaction_mode")
    try:
        [message] = checks.check_database(databases=["default"])
    finally:
        options["transaction_mode"] = mode
    assert message.id == "orderhooks.W030"
    assert checks.check_database(databases=["default"]) == []


SECRET = [
    ("ENCRYPTION_KEYS", ["s3cr3t"]),
    ("ENCRYPTION_KEYS", "s3cr3t"),
    ("EGRESS_PROXY", "http://user:s3cr3t@proxy.example.com:3128/path"),
    ("ENCRYPTION_KEY", "s3cr3t"),
    ("METRICS_TOKEN", "s3cr3t"),
]


@pytest.mark.parametrize(("key", "given"), SECRET)
def test_no_check_shows_a_secret(settings, key: str, given: object) -> None:
    settings.ORDERHOOKS = {key: given}
    messages = "\n".join(str(one) for one in run_checks())
    assert "s3cr3t" not in messages
    assert key in messages, "reported all the same"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"orm": "default"}, "is not set: a worker that hangs is never stopped. Good values"),
        ({"orm": "default", "timeout": 10, "retry": 20}, "which may take 15 s (TIMEOUT_SECONDS). Set it to 25"),
    ],
)
def test_the_time_that_a_task_has_is_checked_with_its_reason(settings, cluster, words: str) -> None:
    settings.Q_CLUSTER = cluster
    settings.ORDERHOOKS = {}
    assert words in found()["orderhooks.W021"]
    assert "'retry'" in found()["orderhooks.W021"], "both have to fit"


def test_a_queue_that_is_not_installed_is_reported_with_the_remedy(settings, monkeypatch) -> None:
    settings.Q_CLUSTER = {"redis": {"host": "127.0.0.1"}, "timeout": 60, "retry": 90}
    monkeypatch.setattr("orderhooks.tasks.django_q.find_spec", lambda _package: None)
    assert "pip install redis" in found()["orderhooks.E024"]
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    assert "Add 'django_q' to INSTALLED_APPS" in found()["orderhooks.E023"]
    settings.Q_CLUSTER = None
    assert "add 'django_q' to INSTALLED_APPS" in found()["orderhooks.W025"]


def test_a_project_that_only_receives_needs_no_queue(settings) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    settings.Q_CLUSTER = None
    settings.ORDERHOOKS = {"SOURCES": []}
    assert found() == {}


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({}, []),
        ({"ALLOWED_NETWORKS": ["10.20.0.0/16"]}, []),
        ({"REQUIRE_HTTPS": False, "ALLOWED_NETWORKS": ["127.0.0.1/32"]}, ["W051", "W052"]),
        ({"ALLOWED_NETWORKS": ["0.0.0.0/0"]}, ["W052"]),
        ({"ALLOWED_NETWORKS": ["::/0"]}, ["W052"]),
        ({"ALLOWED_NETWORKS": ["169.254.169.254/32"]}, ["W052"]),
        ({"ALLOWED_NETWORKS": "wrong"}, []),
    ],
)
def test_what_is_unsafe_in_production_is_reported_by_check_deploy(settings, given, ids: list[str]) -> None:
    settings.ORDERHOOKS = given
    told = [one.id for one in run_checks(include_deployment_checks=True) if (one.id or "").startswith("orderhooks.W05")]
    assert told == [f"orderhooks.{one}" for one in ids]
    assert not [one for one in run_checks() if (one.id or "").startswith("orderhooks.W05")], "for --deploy alone"


def test_metrics_without_their_package_are_reported_with_the_remedy(settings, monkeypatch) -> None:
    settings.ORDERHOOKS = {"METRICS_TOKEN": "a-token-that-is-long-enough"}
    assert found() == {}
    monkeypatch.setattr("orderhooks.checks.settings.find_spec", lambda _package: None)
    assert "pip install 'orderhooks[metrics]'" in found()["orderhooks.E075"]


@pytest.mark.django_db
def test_a_database_without_our_tables_is_reported(monkeypatch) -> None:
    def found() -> list[str | None]:
        return [one.id for one in checks.check_tables(databases=["default"])]

    assert found() == []
    monkeypatch.setattr(Event._meta, "db_table", "there_is_no_such_table")
    assert found() == ["orderhooks.I031"]
    assert checks.check_tables() == [], "only where the database is asked"
