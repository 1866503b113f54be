"""`manage.py orderhooks_doctor`: what could keep webhooks from going out, and what to do."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks.management import diagnosis


class Command(BaseCommand):
    help = (
        "Looks at settings, clock, broker, worker, backlog, secrets and endpoints; a line for each finding, with its "
        "remedy. Ends with status 1 if anything is marked `fail`."
    )
    # It reports them itself, beside the rest.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON array, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = list(diagnosis.examine())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}
            for one in findings:
                self.stdout.write(f"{styles[one.level](one.level.ljust(4))}  {one.what}: {one.text}")
        if failed := sum(one.level == "fail" for one in findings):
            raise CommandError(f"{failed} of these checks failed. Do what the lines marked `fail` say.")
