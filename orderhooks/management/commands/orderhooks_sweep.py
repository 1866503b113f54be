"""`manage.py orderhooks_sweep`: wake a worker, for a scheduler outside of the task queue."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks import tasks


class Command(BaseCommand):
    help = (
        "Has a worker look for what a lost wake-up left behind. A cron job calls it each minute where the task queue "
        "has no scheduler of its own (ORDERHOOKS['QUEUE'] = 'django_tasks'), and once a day with --daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--daily",
            action="store_true",
            help="delete old records as well, and compare orders if RECONCILE_DAYS is set",
        )

    def handle(self, *args: Any, daily: bool, **options: Any) -> None:
        try:
            tasks.sweep()
            if daily:
                tasks.tidy_up()
        except tasks.NoQueueError as error:
            raise CommandError(str(error)) from None
        except Exception as error:
            # Whatever the queue's client raises.
            raise CommandError(f"The task queue can't be reached: {error}") from error
        if int(options["verbosity"]) > 1:
            self.stdout.write("A worker was asked to look.")
