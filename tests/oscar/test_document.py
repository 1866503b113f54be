"""The code of docs/oscar.md works: a shop with the settings, the URLs and the order source that it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "oscar.md").read_text()
SETTINGS = """
import oscar
from oscar.defaults import *
SECRET_KEY = "a key for this test alone"
USE_TZ = True
SITE_ID = 1
ROOT_URLCONF = "shop_urls"
INSTALLED_APPS = oscar.INSTALLED_APPS
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
OSCAR_ORDER_STATUS_PIPELINE = {"New": ("Storniert",), "Storniert": ()}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": 600,
                         "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20}}}
"""
URLS = """
from django.apps import apps
from django.urls import include, path
urlpatterns = [path("", include(apps.get_app_config("oscar").urls[0]))]
"""
TRY_OUT = """
import django
django.setup()
from django.core.management import call_command
from django.test import override_settings
from django.urls import reverse
from orderhooks import sources

call_command("check", fail_level="WARNING")
print(reverse("orderhooks_oscar:order-webhooks", args=["100001"]), sources.by_name("oscar").own_topics()[0])
with override_settings(ORDERHOOKS={"SOURCES": ["order_sources.ShopOrders"]}):
    call_command("check", fail_level="WARNING")
    source = sources.by_name("oscar")
print(source.transitions["status"], source.payment_event_types["bank-transfer"], source.watched[-1])
"""


def block(title: str) -> str:
    found = re.search(rf"^( *)```python\n( *# {re.escape(title)}\n.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/oscar.md has no block for {title}."
    return re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)


def test_a_shop_is_connected_as_the_document_says(tmp_path: Path) -> None:
    (tmp_path / "shop_settings.py").write_text(SETTINGS + block("settings.py"))
    (tmp_path / "shop_urls.py").write_text(URLS + block("urls.py"))
    (tmp_path / "order_sources.py").write_text(block("order_sources.py"))
    done = subprocess.run(
        [sys.executable, "-c", TRY_OUT],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "shop_settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page, own = (line for line in done.stdout.splitlines() if "System check" not in line)
    assert page == "/dashboard/orders/100001/webhooks/ order.status_storniert"
    assert own == "{'Storniert': 'order.cancelled'} paid date_placed"
