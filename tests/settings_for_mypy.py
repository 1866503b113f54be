"""The settings that mypy's plugin for Django reads: those of the tests, with the example project beside."""

import sys
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as OF_THE_TESTS

# As in example_project/shop_site/settings.py, which makes the second folder.
PROJECT_DIR = Path(__file__).resolve().parent.parent / "example_project"
DEMO_DIR = PROJECT_DIR.parent / "var"
sys.path.append(str(PROJECT_DIR))
INSTALLED_APPS = [
    *OF_THE_TESTS,
    "rest_framework.authtoken",
    "tests.chaos",
    "shop",
    "inventory",
    "fulfilment",
    "mailroom",
    "crm",
    "troublemakers",
]
