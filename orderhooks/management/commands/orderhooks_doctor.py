"""`manage.py orderhooks_doctor`: find what could keep webhooks from being sent, with the remedies."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks.management import doctor


class Command(BaseCommand):
    help = (
        "Examines settings, order sources, clock, broker, worker, backlog, losses, secrets and endpoints. Prints a "
        "line for each finding, with its remedy. Exits with status 1 if anything is marked `fail`."
    )
    # `examine` runs them and reports them with the other findings.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON array, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = list(doctor.examine())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}
            for one in findings:
                self.stdout.write(f"{styles[one.level](one.level.ljust(4))}  {one.what}: {one.text}")
        if failed := sum(one.level == "fail" for one in findings):
            raise CommandError(f"{failed} of these checks failed. Do what the lines marked `fail` say.")
