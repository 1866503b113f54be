"""`manage.py orderhooks_apply subscriptions.toml`: make the subscriptions what a file says, and show the difference."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from orderhooks.management import declaring
from orderhooks.management.declaring import DeclarationError, Step
from orderhooks.models import Subscription
from orderhooks.models.locks import one_at_a_time


class Command(BaseCommand):
    help = (
        "Makes and changes subscriptions, known by their names, into what a TOML file says. What a table leaves out is "
        "at its default, but for `state`. Subscriptions that the file does not name stay as they are. All or nothing; "
        "the second time changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="with a table [[subscriptions]] for each")
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")

    @sensitive_variables("secrets", "secret")
    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            tables = declaring.read(file)
            with one_at_a_time(Subscription.objects.db, "declared subscriptions"):
                steps = declaring.plan(tables)
                secrets = {} if dry_run else declaring.carry_out(steps)
        except DeclarationError as error:
            raise CommandError(f"Nothing was changed.\n{error}") from None
        for step in steps:
            self._show(step)
        made = sum(step.subscription is None for step in steps)
        changed = sum(bool(step.subscription and step.differences) for step in steps)
        told = f"{made} to make, {changed} to change" if dry_run else f"{made} made, {changed} changed"
        self.stdout.write(f"{told}, {len(steps) - made - changed} as they were.")
        for name, secret in secrets.items():
            self.stdout.write(self.style.WARNING(f"Secret of {name}, shown this once: {secret}"))

    def _show(self, step: Step) -> None:
        if step.subscription is None:
            self.stdout.write(self.style.SUCCESS(f"+ {step.name}"))
        elif step.differences:
            self.stdout.write(self.style.WARNING(f"~ {step.name}"))
        else:
            return
        for one in step.differences:
            change = one.new if step.subscription is None else f"{one.old} → {one.new}"
            self.stdout.write(f"    {one.field}: {change}")
