"""A project with two databases, run as a program of its own: `python -m tests.two_databases_child <folder> <layout>`.

Layouts: `apart` keeps orders in "shop" and all else in "default"; `together` routes orders, orderhooks, its queue and
users to "shop"; `copies` keeps all in "default" and saves copies of orders to "shop". Prints what came of it as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings


class Router:
    """Which apps are in "shop"."""

    apps: tuple[str, ...] = ()

    def db_for_read(self, model: Any, **_hints: Any) -> str:
        return "shop" if model._meta.app_label in self.apps else "default"

    db_for_write = db_for_read

    def allow_relation(self, *_rows: Any, **_hints: Any) -> bool:
        return True


LAYOUTS = {
    "apart": ("shapes",),
    "together": ("shapes", "orderhooks", "django_q", "auth", "contenttypes", "sessions", "admin"),
    "copies": (),
}


def run(folder: Path, layout: str) -> dict[str, Any]:
    from tests import settings as those

    given = {name: value for name, value in vars(those).items() if name.isupper()}
    engine = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
    names = {"default": str(folder / "default.sqlite3"), "shop": str(folder / "shop.sqlite3")}
    Router.apps = LAYOUTS[layout]
    settings.configure(
        **{
            **given,
            "DATABASES": {alias: {**engine, "NAME": name} for alias, name in names.items()},
            "DATABASE_ROUTERS": [Router()],
            "Q_CLUSTER": {"orm": "shop" if layout == "together" else "default", "timeout": 60, "retry": 90},
            "ORDERHOOKS": {"SOURCES": ["tests.shapes.sources.UuidOrder"]},
        }
    )
    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from orderhooks import outbox
    from orderhooks.models import CaptureFailure, Event
    from tests.factories import make_subscription
    from tests.shapes.models import UuidOrder

    for alias in names:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    home = "shop" if layout == "together" else "default"
    make_subscription()
    using = "shop" if layout == "copies" else None
    order = UuidOrder(state="open")
    order.save(using=using)
    order.state = "paid"
    order.save(using=using)
    saved_state = UuidOrder.objects.using(using or order._state.db).get().state
    order.delete(using=using)
    while outbox.coalesce_left_behind(now=timezone.now()):
        pass
    return {
        "state": saved_state,
        "topics": list(Event.objects.using(home).order_by("sequence").values_list("topic", flat=True)),
        "marks": [[mark.source, mark.count, mark.error] for mark in CaptureFailure.objects.using(home).all()],
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), sys.argv[2])))
