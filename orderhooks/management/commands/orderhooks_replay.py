"""`manage.py orderhooks_replay --since 2h NAME`: send the events of a period to a subscription again."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from orderhooks import operations
from orderhooks.db import DatabaseClock
from orderhooks.management import actor, lookup, times
from orderhooks.management.progress import JobCommand, sent_text
from orderhooks.models import Replay
from orderhooks.reporting.counts import count_text, counted
from orderhooks.topics import UnknownTopicError


class Command(JobCommand):
    help = (
        "Makes the deliveries of a period due again; workers send them. Shows how many there are, then the progress. "
        "Ctrl-C stops the display, not the replay."
    )

    jobs = Replay

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subscription", nargs="?", metavar="sub_…", help="its id or name")
        parser.add_argument("--since", metavar="WHEN", help=f"the start of the period: {times.FORMATS}")
        parser.add_argument("--until", metavar="WHEN", help="the end of the period; default: now")
        parser.add_argument("--topic", action="append", default=[], help="only this topic or family; may be repeated")
        parser.add_argument("--only", choices=Replay.Only.values, default=Replay.Only.ALL.value)
        parser.add_argument("--dry-run", action="store_true", help="only count the deliveries")
        parser.add_argument("--no-wait", action="store_true", help="do not show the progress")
        parser.add_argument("--cancel", metavar="rpl_…", help="cancel this replay")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            return self._cancel(options["cancel"])
        if not options["subscription"] or not options["since"]:
            raise CommandError(f"Name a subscription, and give the start of the period with --since: {times.FORMATS}.")
        subscription = lookup.subscription(options["subscription"])
        now = DatabaseClock().now()
        selection: dict[str, Any] = {
            "since": times.parse(options["since"], now=now),
            "until": times.parse(options["until"], now=now) if options["until"] else None,
            "topics": options["topic"],
            "only": options["only"],
        }
        try:
            if options["dry_run"]:
                found = operations.preview_replay(subscription, **selection)
                expected = count_text(found.count, is_exact=found.is_exact)
                return self.stdout.write(f"It would send {expected} deliveries to {subscription}.")
            replay = operations.replay(subscription, **selection, by=actor.current())
        except (operations.ReplayError, UnknownTopicError) as error:
            raise CommandError(str(error)) from None
        expected = count_text(replay.total, is_exact=replay.total_is_exact)
        self.stdout.write(f"{replay.public_id}: sends {expected} deliveries to {subscription} again.")
        if not options["no_wait"]:
            self.watch(replay)
        return None

    def _cancel(self, public_id: str) -> None:
        replay = self.find(public_id)
        was_running = operations.cancel_replay(replay)
        replay.refresh_from_db()
        how = "Cancelled" if was_running else f"It was already {replay.state}"
        self.stdout.write(f"{how}; {counted(replay.done, 'delivery', 'deliveries')} had been made due.")

    def report_end(self, job: Any) -> None:
        self.stdout.write(f"{job.get_state_display()}: {sent_text(job.done)}")
