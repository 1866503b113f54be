"""A project whose DRF settings (in the environment, as JSON) suit views of its own. Prints the API's responses."""

import json
import os
import sys
from typing import Any

import django
from django.conf import settings

import tests.settings as base

SHOWN = ("metadata", "placed_at", "total")


class Shouting:
    """Renders other names than the views gave, as a camel-case renderer does."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "text"

    def render(self, data, *_context):
        return json.dumps({name.upper(): "?" for name in data or {}}).encode()


class Deaf:
    """Parses nothing."""

    media_type = "application/json"

    def parse(self, *_arguments, **_options):
        return {}


def refuse(*_arguments):
    raise RuntimeError("the project's exception handler")


def main() -> None:
    chosen = {name: getattr(base, name) for name in dir(base) if name.isupper()}
    settings.configure(**{**chosen, "REST_FRAMEWORK": json.loads(os.environ["TEST_REST_FRAMEWORK"])})
    django.setup()
    from django.core.management import call_command
    from rest_framework.test import APIClient

    from tests.api.calls import EVERYTHING, client_with

    call_command("migrate", verbosity=0)
    api = client_with(*EVERYTHING)
    found: dict[str, Any] = {}
    order = {"metadata": {"gift_wrap": {"of_paper": 1.50}}, "placed_at": "2026-11-24T06:00:00.123456Z"}
    lines = [{"sku": "T", "name": "Tea", "unit_price": "9.90"}]
    made = api.generic("POST", "/api/orders/", json.dumps({**order, "lines": lines}), "application/json")
    found["made"] = [made.status_code, made["Content-Type"], *(json.loads(made.content).get(one) for one in SHOWN)]
    read = api.get("/api/orders/?page_size=1&format=json")
    found["list"] = [read.status_code, list(json.loads(read.content))]
    wrong = api.generic("POST", "/api/orders/", json.dumps({"status": 7, "lines": [{}]}), "application/json")
    found["wrong"] = [wrong.status_code, wrong["Content-Type"], json.loads(wrong.content)["errors"]]
    found["others"] = [api.get("/api/orders/x/").status_code, api.get("/api/").status_code]
    found["options"] = api.options("/api/orders/").status_code
    anonymous = APIClient().get("/api/orders/")
    found["anonymous"] = [anonymous.status_code, anonymous["Content-Type"]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
