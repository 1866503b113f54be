"""A sweep a second, so that a test need not wait for a minute."""

from datetime import timedelta

from django.apps import AppConfig


class QuicklySweptConfig(AppConfig):
    name = "tests.queues"

    def ready(self) -> None:
        from orderhooks.tasks import celery

        celery.SWEEP_EVERY = timedelta(seconds=1)
