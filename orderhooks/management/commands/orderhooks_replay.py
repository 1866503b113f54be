"""`manage.py orderhooks_replay --since 2h NAME`: send the events of a period to a subscription again."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks import operations
from orderhooks.db import DatabaseClock
from orderhooks.management import actor, lookup, progress, times
from orderhooks.models import Pump, Replay
from orderhooks.reporting.counts import count_text
from orderhooks.topics import UnknownTopicError

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Makes the deliveries of a period due again; workers send them. Shows how many there are, then the progress. "
        "Ctrl-C stops the display, not the replay."
    )

    # Called between two readings of the progress; tests replace it.
    wait = staticmethod(time.sleep)

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
            self._watch(replay)
        return None

    def _cancel(self, public_id: str) -> None:
        replay = Replay.objects.filter(public_id=public_id).first()
        if replay is None:
            raise CommandError(f"There is no replay {public_id!r}. The admin lists them.")
        was_running = operations.cancel_replay(replay)
        replay.refresh_from_db()
        how = "Cancelled" if was_running else f"It was already {replay.state}"
        self.stdout.write(f"{how}; {count_text(replay.done)} deliveries had been made due.")

    def _watch(self, replay: Replay) -> None:
        """Show a progress bar on a terminal. Write one line at the end everywhere."""
        if not Pump.objects.fresh().exists():
            self.stdout.write(
                self.style.WARNING(
                    "No worker is running. The replay begins when one is started (`manage.py qcluster`)."
                )
            )
        is_terminal = self.stdout.isatty()
        try:
            while replay.state == Replay.State.RUNNING:
                if is_terminal:
                    self.stdout.write(f"\r{bar(replay)}", ending="")
                    self.stdout.flush()
                self.wait(POLL_SECONDS)
                replay.refresh_from_db()
        except KeyboardInterrupt:
            self.stdout.write(f"\nIt goes on. `manage.py orderhooks_replay --cancel {replay.public_id}` cancels it.")
            return
        if is_terminal:
            self.stdout.write(f"\r{bar(replay)}")
        done = count_text(replay.done)
        self.stdout.write(f"{replay.get_state_display()}: {done} deliveries are sent, or wait for their turn.")


def bar(replay: Replay) -> str:
    return progress.bar(replay.share_done(), f"{count_text(replay.done)} deliveries")
