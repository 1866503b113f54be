"""Settings of the shop. TEST_QUEUE and TEST_BROKER_URL come from the test that starts its processes."""

import os

import django

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, ORDERHOOKS, Q_CLUSTER

QUEUE = os.environ["TEST_QUEUE"]
# Each has what its own documentation asks for, and nothing of another.
INSTALLED_APPS = [
    app for app in INSTALLED_APPS if app not in ("django_q", "django.contrib.admin", "drf_spectacular_sidecar")
]
if "TEST_SWEEP_EACH_SECOND" in os.environ:
    # Before orderhooks, which reads it when it starts.
    INSTALLED_APPS.insert(0, "tests.queues")
ROOT_URLCONF = "tests.queues.urls"
del Q_CLUSTER
ORDERHOOKS = {**ORDERHOOKS, "QUEUE": QUEUE, "LINGER_SECONDS": 0.2, "RETRY_SCHEDULE": [0, 0]}

if QUEUE == "celery":
    CELERY_BROKER_URL = os.environ["TEST_BROKER_URL"]
    CELERY_TASK_DEFAULT_QUEUE = os.environ["TEST_CELERY_QUEUE"]
    CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
    CELERY_WORKER_PREFETCH_MULTIPLIER = 1
    CELERY_RESULT_BACKEND = None
elif QUEUE == "django_tasks":
    INSTALLED_APPS += ["django_tasks_db"] if django.VERSION >= (6, 0) else ["django_tasks", "django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    dummy = "django.tasks.backends.dummy" if django.VERSION >= (6, 0) else "django_tasks.backends.dummy"
    if kind := os.environ.get("TEST_BACKEND"):
        own = {"dummy": f"{dummy}.DummyBackend", "own": "django_tasks_db.DatabaseBackend"}[kind]
        TASKS["orderhooks"] = {"BACKEND": own}
