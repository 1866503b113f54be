"""`manage.py orderhooks_work`: the worker of a project without a task queue."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from orderhooks import tasks

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    help = (
        "Delivers webhooks, without a task queue: ORDERHOOKS['QUEUE'] = 'none'. It runs until SIGTERM or Ctrl-C, and "
        "then ends with the requests that are under way. Run as many as you need, on one host or on many."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once",
            action="store_true",
            help="deliver what is due now, for at most a minute, and end: for a cron job where no process may stay",
        )

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        try:
            worker = tasks.make_worker()
        except tasks.OtherQueueError as error:
            raise CommandError(str(error)) from None
        for number in SIGNALS:
            signal.signal(number, _once(worker.stop))
        if once:
            try:
                more = worker.run_once()
            except OperationalError as error:
                raise CommandError(f"The database can't be reached; nothing is lost. {error}") from error
            self.stdout.write("More is due: run it again." if more else "Nothing more is due.")
            return
        self.stdout.write("Delivering webhooks. Ctrl-C or SIGTERM ends it.")
        self.stdout.flush()
        worker.run()
        self.stdout.write("Ended.")


def _once(stop: Any) -> Any:
    """A signal handler: the first signal stops the worker, a second one has its usual effect."""

    def handle(_number: int, _frame: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        stop()

    return handle
