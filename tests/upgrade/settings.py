"""Settings of the processes that `tests.upgrade` starts, with the code of both versions.

UPGRADE_DATABASE is the database, in JSON. The app `tests.chaos` shortens leases.
"""

import json
import os

SECRET_KEY = "a key for this check alone"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "django_q",
    "orderhooks",
    "tests.chaos",
]
DATABASES = {"default": json.loads(os.environ["UPGRADE_DATABASE"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER = {
    "name": "orderhooks-upgrade",
    "orm": "default",
    "workers": 2,
    # No cluster takes more wake-ups than its workers can run, so that both clusters get some.
    "queue_limit": 2,
    # A worker that is stopped ends its turn first: five seconds with this limit.
    "timeout": 12,
    "retry": 15,
    "save_limit": -1,
    "catch_up": False,
}
ORDERHOOKS = {
    "REQUIRE_HTTPS": False,
    "ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "TIMEOUT_SECONDS": 2,
    "RETRY_SCHEDULE": [1] * 12,
    "LINGER_SECONDS": 1,
    "WORKER_THREADS": 8,
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # The check waits until it says that it runs.
    "loggers": {"django-q": {"level": "INFO"}},
}
