"""Settings of the tests of django-oscar: the shop of `make demo-oscar`, with the database and queue of the suite."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent.parent / "example_project"))

from oscar_shop.settings import *  # noqa: F403
from tests.settings import DATABASE, DATABASES, ORDERHOOKS, PASSWORD_HASHERS, Q_CLUSTER

# With SQLite Oscar's tables are made at once: its two hundred migrations take longer than the tests. The servers need
# the tables first to which others point.
WITHOUT_MIGRATIONS = (
    "address analytics basket catalogue communication customer offer order partner payment reviews search shipping "
    "voucher wishlists"
)
MIGRATION_MODULES = dict.fromkeys(WITHOUT_MIGRATIONS.split() if DATABASE == "sqlite" else ())

__all__ = ["DATABASES", "PASSWORD_HASHERS", "Q_CLUSTER"]

ORDERHOOKS = {**ORDERHOOKS, "SOURCES": ["orderhooks.contrib.oscar.OscarOrders"]}
ALLOWED_HOSTS = ["*"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
