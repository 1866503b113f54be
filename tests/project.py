"""A project of its own, in a process of its own: `python -m tests.project '{"USE_THOUSAND_SEPARATOR": true}'`.

The settings are those of the suite with these laid over. With `"check"` in place of a day it prints what `check` says.
"""

import json
import os
import sys
import tempfile
from pathlib import Path


def main(overrides: str, *, day: bool) -> None:
    from tests import settings

    vars(settings).update(json.loads(overrides))
    with tempfile.TemporaryDirectory() as folder:
        for alias, database in settings.DATABASES.items():
            if database["ENGINE"].endswith("sqlite3"):
                database["NAME"] = str(Path(folder) / f"{alias}.sqlite3")
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

        import django

        django.setup()
        if day:
            _live()
        else:
            _check()


def _check() -> None:
    from django.core import checks

    for message in checks.run_checks():
        print(message.id, message.msg, message.hint)


def _live() -> None:
    from django.core.management import call_command
    from django.db import connections
    from django.test.utils import setup_test_environment

    from tests.project_flow import live_through
    from tests.receivers import RecordingReceiver

    setup_test_environment()
    made = [one for one in connections.all() if one.vendor != "sqlite"]
    for connection in made:
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        for alias in connections:
            call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
        with RecordingReceiver() as receiver:
            live_through(receiver)
    finally:
        for connection in made:
            connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    print("lived through it")


if __name__ == "__main__":
    main(sys.argv[1], day="check" not in sys.argv[2:])
