"""A project that only receives: with orderhooks among its apps or without, it starts, checks and takes webhooks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import Error, Warning

from orderhooks import checks, signing
from orderhooks.testing import signed_request

ROOT = Path(__file__).parent.parent
SECRET = signing.generate_secret()
PROGRAM = """
import json, os, sys
import django
from django.conf import settings

given = json.loads(sys.argv[1])
settings.configure(
    SECRET_KEY="a key for this test alone", USE_TZ=True, ROOT_URLCONF="endpoint", ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=given["apps"], MIDDLEWARE=[], ORDERHOOKS={"SOURCES": []},
    SILENCED_SYSTEM_CHECKS=["admin.E403", "admin.E408", "admin.E409", "admin.E410"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import types
from django.core.management import call_command
from django.test import Client
from django.urls import path
from orderhooks import receiver

guards = {"deduplicate": getattr(receiver, given["guard"])("crm")}
module = sys.modules["endpoint"] = types.ModuleType("endpoint")
module.urlpatterns = [path("hooks/", receiver.webhook(given["secret"], **guards)(lambda request, event: None))]
call_command("check", fail_level="WARNING")
if given["apps"]:
    call_command("migrate", verbosity=0)
if "django.contrib.admin" in given["apps"]:
    from django.contrib import admin
    admin.autodiscover()
client = Client()
print([client.post("/hooks/", given["body"], "application/json", headers=given["headers"]).status_code for _ in "12"])
"""
AUTH = ["django.contrib.auth", "django.contrib.contenttypes"]
ADMIN = ["django.contrib.admin", *AUTH, "django.contrib.messages"]


def run(apps: list[str], guard: str) -> "subprocess.CompletedProcess[str]":
    request = signed_request(SECRET)
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    given = {"apps": apps, "guard": guard, "secret": SECRET, "body": request.body.decode(), "headers": headers}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-c", PROGRAM, json.dumps(given)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apps", "guard"),
    [
        ([], "CacheDeduplicator"),
        ([*AUTH, "orderhooks"], "DatabaseDeduplicator"),
        ([*AUTH, "orderhooks"], "CacheDeduplicator"),
        ([*ADMIN, "orderhooks"], "DatabaseDeduplicator"),
    ],
)
def test_it_needs_neither_queue_nor_api(apps: list[str], guard: str) -> None:
    done = run(apps, guard)
    assert done.stdout.splitlines()[-1:] == ["[204, 200]"], done.stderr


@pytest.mark.slow
def test_a_guard_of_the_database_says_which_app_it_needs() -> None:
    done = run([], "DatabaseDeduplicator")
    assert "Add 'orderhooks' to INSTALLED_APPS" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("apps", [["orderhooks"], ["django.contrib.contenttypes", "orderhooks"]], ids=len)
def test_the_check_says_that_the_app_needs_users(apps: list[str]) -> None:
    done = run(apps, "CacheDeduplicator")
    assert "HINT: Add 'django.contrib.auth' and 'django.contrib.contenttypes' to INSTALLED_APPS" in done.stderr


@pytest.mark.parametrize(
    ("apps", "cluster", "sources", "found"),
    [
        (["django_q", "orderhooks"], {}, None, [(Error, "E020")]),
        (["django_q", "orderhooks"], {}, [], []),
        (["orderhooks"], {}, None, [(Warning, "W025")]),
        (["orderhooks"], {}, [], []),
        (["orderhooks"], {"Q_CLUSTER": {"timeout": 60, "retry": 90, "catch_up": False}}, None, [(Error, "E023")]),
    ],
)
def test_the_check_distinguishes_a_receiver_from_a_store_without_a_queue(
    settings, apps, cluster, sources, found
) -> None:
    settings.INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", *apps]
    del settings.Q_CLUSTER
    for name, value in cluster.items():
        setattr(settings, name, value)
    settings.ORDERHOOKS = {} if sources is None else {"SOURCES": sources}
    messages = [*checks.check_settings(), *checks.check_queue()]
    assert [(type(one), (one.id or "").partition(".")[2]) for one in messages] == found
