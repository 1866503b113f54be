"""Settings of the processes that the fault suite starts. CHAOS_SITE says which database, broker and clock: see `sites`.

Times are short, so that the suite is; what is shortened beyond the settings is in `apps`.
"""

import json
import os

from tests.chaos import clock, names
from tests.settings import MIDDLEWARE, TEMPLATES  # noqa: F401

SITE = json.loads(os.environ["CHAOS_SITE"])
RABBITMQ = SITE["rabbitmq"]
if SITE["clock"]:
    clock.follow(SITE["clock"], *(["celery.app.base", "celery.worker.request"] if RABBITMQ else []))
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
if SITE["replica"]:
    DATABASES["replica"] = SITE["replica"]
    DATABASE_ROUTERS = ["tests.routers.AllReadsFromAReplica"]
    # Pages and sessions, to look at what was just written.
    INSTALLED_APPS += [f"django.contrib.{name}" for name in ("admin", "messages", "sessions", "staticfiles")]
    INSTALLED_APPS += ["drf_spectacular_sidecar"]
    ALLOWED_HOSTS = ["*"]
    ROOT_URLCONF, STATIC_URL = "tests.urls", "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER: dict[str, object] = {
    "name": "orderhooks-chaos",
    "workers": SITE["workers"],
    "timeout": SITE["task_seconds"],
    "retry": SITE["task_seconds"] + 5,
    "save_limit": -1,
    "catch_up": False,
    **({"redis": SITE["redis"]} if SITE["redis"] else {"orm": "default"}),
}
if RABBITMQ:
    CELERY_BROKER_URL = RABBITMQ["url"]
    CELERY_TASK_DEFAULT_QUEUE = RABBITMQ["queue"]
    CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
    CELERY_WORKER_PREFETCH_MULTIPLIER = 1
    # docs/how-to/choose-a-queue.md: a worker that was cut off may end otherwise.
    CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
    CELERY_RESULT_BACKEND = None
ORDERHOOKS = {
    "QUEUE": "celery" if RABBITMQ else "django_q",
    "REQUIRE_HTTPS": False,
    "ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "SOURCES": ["tests.chaos.sources.ChaosOrders"],
    "TIMEOUT_SECONDS": 2,
    "RETRY_SCHEDULE": [1] * 12,
    "LINGER_SECONDS": 1,
    "WORKER_THREADS": 16,
    **SITE["orderhooks"],
}
