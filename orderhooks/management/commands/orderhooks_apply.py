"""`manage.py orderhooks_apply subscriptions.toml`: create and change subscriptions as a file declares them."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from orderhooks.management import declarations
from orderhooks.management.declarations import DeclarationError, Step
from orderhooks.models.subscriptions import declaration_lock


class Command(BaseCommand):
    help = (
        "Creates and changes subscriptions as a TOML file declares them, and shows the differences. Subscriptions are "
        "found by their names. A field that a table leaves out gets its default; only `state` stays as it is. "
        "Subscriptions that the file does not name stay as they are. If anything is wrong, nothing is changed. "
        "Applying the same file again changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a TOML file with a table [[subscriptions]] for each subscription")
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")

    @sensitive_variables("keys", "key")
    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            tables = declarations.read(file)
            with declaration_lock(*declarations.names_in(tables)):
                steps = declarations.plan(tables, path=file)
                keys = [] if dry_run else declarations.apply(steps)
        except DeclarationError as error:
            raise CommandError(f"Nothing was changed.\n{error}") from None
        for step in steps:
            self._show(step)
        created = sum(step.subscription is None for step in steps)
        changed = sum(bool(step.subscription and step.differences) for step in steps)
        changes = f"{created} to create, {changed} to change" if dry_run else f"{created} created, {changed} changed"
        rest = f"{len(steps) - created - changed} unchanged."
        self.stdout.write(f"{changes}, {rest}" if created or changed else f"No changes: {rest}")
        for key in keys:
            what = f"Secret of {key.name}, shown only once" if key.is_secret else f"Public key of {key.name}"
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
