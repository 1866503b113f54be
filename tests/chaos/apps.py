"""What the fault suite shortens in its own processes beyond the settings, all of it: a lease's margins."""

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    name = "tests.chaos"

    def ready(self) -> None:
        from orderhooks.sending import pool

        # With the attempt's two seconds a lease lasts six, not twenty-two.
        pool.BEGIN_SECONDS = 2.0
        pool.LEASE_MARGIN_SECONDS = 2.0
