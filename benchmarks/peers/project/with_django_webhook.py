"""Settings of a shop with django-webhook, and the Celery app that its tasks run on."""

import os

from celery import Celery
from common import *  # noqa: F403

INSTALLED_APPS = ["django.contrib.contenttypes", "shop", "django_webhook"]
DJANGO_WEBHOOK = {"MODELS": ["shop.Order"]}

app = Celery("shop", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    broker_transport_options={"global_keyprefix": os.environ["BENCH_REDIS_PREFIX"]},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
)
app.autodiscover_tasks(["django_webhook"])
