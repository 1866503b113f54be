"""`manage.py orderhooks_apply subscriptions.toml`: make the subscriptions what a file says, and show the difference."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from orderhooks.management import declaring
from orderhooks.management.declaring import DeclarationError, Step
from orderhooks.models.subscriptions import sole_declaration


class Command(BaseCommand):
    help = (
        "Makes and changes subscriptions, known by their names, into what a TOML file says. What a table leaves out is "
        "at its default, but for `state`. Subscriptions that the file does not name stay as they are. All or nothing; "
        "the second time changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="with a table [[subscriptions]] for each")
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")

    @sensitive_variables("keys", "key")
    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            tables = declaring.read(file)
            with sole_declaration(*declaring.names_in(tables)):
                steps = declaring.plan(tables, path=file)
                keys = [] if dry_run else declaring.carry_out(steps)
        except DeclarationError as error:
            raise CommandError(f"Nothing was changed.\n{error}") from None
        for step in steps:
            self._show(step)
        made = sum(step.subscription is None for step in steps)
        changed = sum(bool(step.subscription and step.differences) for step in steps)
        told = f"{made} to make, {changed} to change" if dry_run else f"{made} made, {changed} changed"
        rest = f"{len(steps) - made - changed} as they were."
        self.stdout.write(f"{told}, {rest}" if made or changed else f"No changes: {rest}")
        for key in keys:
            what = f"Secret of {key.name}, shown this once" if key.is_secret else f"Public key of {key.name}"
            self.stdout.write(self.style.WARNING(f"{what}: {key.text}"))

    def _show(self, step: Step) -> None:
        if step.subscription is None:
            self.stdout.write(self.style.SUCCESS(f"+ {step.name}"))
        elif step.differences:
            self.stdout.write(self.style.WARNING(f"~ {step.name}"))
        else:
            self.stdout.write(f"= {step.name}")
        for one in step.differences:
            change = one.new if step.subscription is None else f"{one.old} → {one.new}"
            self.stdout.write(f"    {one.field}: {change}")
