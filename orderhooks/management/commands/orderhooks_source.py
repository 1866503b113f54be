"""`manage.py orderhooks_source shop.Order`: print an order source for a model, guessed from its fields."""

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import models

from orderhooks import sources, spelling
from orderhooks.management.source_skeleton import skeleton


class Command(BaseCommand):
    help = (
        "Prints an order source for a model, guessed from its fields, foreign keys and the rows that point to it. It "
        "works as it is: save it as a module, name it in the setting SOURCES, and change what does not fit."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="app.Model", help="the model of the orders, such as shop.Order")

    def handle(self, *args: Any, model: str, **options: Any) -> None:
        found = _model(model)
        if other := _watched_by(found):
            self.stderr.write(
                f"{found._meta.label} is watched by the order source {other!r} already. A model belongs to one source."
            )
        self.stdout.write(skeleton(found), ending="")


def _model(label: str) -> type[models.Model]:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        labels = [model._meta.label for model in apps.get_models()]
        near = spelling.nearest(label, labels)
        remedy = f"Did you mean {near}?" if near else "Name a model of an installed app, as app.Model."
        raise CommandError(f"There is no model {label!r}. {remedy}") from None


def _watched_by(model: type[models.Model]) -> str | None:
    """The name of the configured source that watches the model."""
    watched = sources.watched_models_of(model)
    return watched[0].source.name if watched else None
