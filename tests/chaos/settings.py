"""Settings of the processes that the fault suite starts. CHAOS_SITE says which database, broker and clock: see `sites`.

Times are short, so that the suite is; what is shortened beyond the settings is in `apps`.
"""

import json
import os

from tests.chaos import clock, names

SITE = json.loads(os.environ["CHAOS_SITE"])
if SITE["clock"]:
    clock.follow(SITE["clock"])
names.install()

if SITE["database"]["ENGINE"].endswith("mysql"):
    import pymysql

    pymysql.install_as_MySQLdb()

SECRET_KEY = "a key for the fault suite alone"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "django_q",
    "orderhooks",
    "tests.chaos",
]
DATABASES = {"default": SITE["database"]}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER: dict[str, object] = {
    "name": "orderhooks-chaos",
    "workers": SITE["workers"],
    "timeout": 20,
    "retry": 25,
    "save_limit": -1,
    "catch_up": False,
    **({"redis": SITE["redis"]} if SITE["redis"] else {"orm": "default"}),
}
ORDERHOOKS = {
    "REQUIRE_HTTPS": False,
    "ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "SOURCES": ["tests.chaos.sources.ChaosOrders"],
    "TIMEOUT_SECONDS": 2,
    "RETRY_SCHEDULE": [1] * 12,
    "LINGER_SECONDS": 1,
    "WORKER_THREADS": 16,
    **SITE["orderhooks"],
}
