#!/usr/bin/env python
"""Django's command line for the example shop: `python example_project/manage.py demo`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # The checkout's own orderhooks, installed or not.
    sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
