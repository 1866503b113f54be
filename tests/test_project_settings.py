"""The project's settings are anyone's: a day under each that changes Django, through API, admin and worker."""

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks

from tests.project_flow import live_through
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.slow

MIDDLEWARE = django_settings.MIDDLEWARE
SESSIONS = MIDDLEWARE.index("django.contrib.sessions.middleware.SessionMiddleware")
FORMATS = {"USE_THOUSAND_SEPARATOR": True, "LANGUAGE_CODE": "de"}
LOCALE = [*MIDDLEWARE[: SESSIONS + 1], "django.middleware.locale.LocaleMiddleware", *MIDDLEWARE[SESSIONS + 1 :]]
# Settings that act at each use.
AT_RUN_TIME: dict[str, dict[str, Any]] = {
    "as they are": {},
    "a time zone with summer time": {"TIME_ZONE": "Europe/Berlin"},
    "a time zone of half hours": {"TIME_ZONE": "Asia/Kolkata"},
    "far behind UTC": {"TIME_ZONE": "Pacific/Pago_Pago"},
    "German formats": FORMATS,
    "formats by the browser": {**FORMATS, "MIDDLEWARE": LOCALE},
    "formats of its own": {"USE_THOUSAND_SEPARATOR": True, "THOUSAND_SEPARATOR": "'", "NUMBER_GROUPING": 2},
    "a script name": {"FORCE_SCRIPT_NAME": "/shop"},
    "everybody signs in": {"MIDDLEWARE": [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]},
    "signed cookies": {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"},
    "one subdomain for all": {"USE_X_FORWARDED_HOST": True, "APPEND_SLASH": False},
    "small uploads": {"DATA_UPLOAD_MAX_MEMORY_SIZE": 20_000},
    "32-bit keys": {"DEFAULT_AUTO_FIELD": "django.db.models.AutoField"},
}
# Settings that act when Django starts, several to a process.
ENGINE = django_settings.DATABASES["default"]["ENGINE"]
# As it is before the suite has made its own.
DATABASE = copy.deepcopy(django_settings.DATABASES["default"])
ON_POSTGRESQL = ENGINE.endswith("postgresql")
SHOP = {"default": DATABASE, "shop": DATABASE}
AT_START: dict[str, dict[str, Any]] = {
    "requests in transactions, everybody signs in, Berlin, German": {
        "DATABASES": {"default": {**DATABASE, "ATOMIC_REQUESTS": True}},
        "TIME_ZONE": "Europe/Berlin",
        **FORMATS,
        **AT_RUN_TIME["everybody signs in"],
    },
    "users of its own": {
        "AUTH_USER_MODEL": "members.Member",
        "INSTALLED_APPS": [*django_settings.INSTALLED_APPS, "tests.members"],
    },
    "all in another database": {"DATABASES": SHOP, "DATABASE_ROUTERS": ["tests.routers.AllInTheShop"]},
    **(
        {
            "a pool of connections": {
                "DATABASES": {"default": {**DATABASE, "CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 1}}}}
            },
            "repeatable reads": {
                # psycopg.IsolationLevel.REPEATABLE_READ
                "DATABASES": {"default": {**DATABASE, "OPTIONS": {"isolation_level": 3}}}
            },
        }
        if ON_POSTGRESQL and importlib.util.find_spec("psycopg_pool")
        else {}
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", AT_RUN_TIME)
def test_a_day_under_settings_that_act_at_once(name: str, settings, receiver: RecordingReceiver) -> None:
    for setting, value in AT_RUN_TIME[name].items():
        setattr(settings, setting, value)
    live_through(receiver)
    assert [one for one in run_checks() if (one.id or "").startswith("orderhooks.")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_START)
def test_a_day_under_settings_that_act_at_start(name: str) -> None:
    assert in_a_project(AT_START[name]) == "lived through it\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"DATABASES": SHOP, "DATABASE_ROUTERS": ["tests.routers.AllInTheShop"]}, []),
        (
            {"DATABASES": SHOP, "DATABASE_ROUTERS": ["tests.routers.ShopOfItsOwn"]},
            ["orderhooks.E060 auth.User is written to the database 'shop', and orderhooks to 'default'"],
        ),
        (
            {
                "DATABASES": SHOP,
                "DATABASE_ROUTERS": ["tests.routers.ShopOfItsOwn"],
                "ORDERHOOKS": {"SOURCES": ["tests.project_sources.GroupsAsOrders"]},
            },
            [
                "orderhooks.E060 auth.Group is written to the database 'shop', and orderhooks to 'default': no change",
                "orderhooks.E060 auth.User is written to the database 'shop', and orderhooks to 'default'",
            ],
        ),
        (
            {"DATABASES": SHOP, "DATABASE_ROUTERS": ["tests.routers.NotMigrated"]},
            ["orderhooks.E060 Your DATABASE_ROUTERS write orderhooks to 'shop' and forbid its migrations there."],
        ),
        ({"USE_TZ": False}, ["orderhooks.E061 USE_TZ is False"]),
        (
            {"Q_CLUSTER": {"orm": "default", "timeout": 60, "retry": 90, "sync": True}},
            ["orderhooks.W062 Q_CLUSTER['sync'] is True", "orderhooks.W063 Q_CLUSTER['catch_up'] is not False"],
        ),
    ],
    ids=["one database", "users elsewhere", "orders elsewhere", "not migrated", "no time zones", "queue"],
)
def test_what_can_not_work_is_reported_with_its_remedy(overrides: Mapping[str, Any], said: list[str]) -> None:
    lines = [line for line in in_a_project(overrides, "check").splitlines() if line.startswith(OURS)]
    assert len(lines) == len(said)
    for line, text in zip(lines, said, strict=True):
        assert line.startswith(text)


# What `checks` says.
OURS = ("orderhooks.E06", "orderhooks.W06")


def in_a_project(overrides: Mapping[str, Any], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "tests.project", json.dumps(overrides), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
