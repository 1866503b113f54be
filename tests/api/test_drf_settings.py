"""The API looks the same whatever DRF's settings are in the project: clients and its document rely on it.

In processes of their own: DRF's views take most settings at import.
"""

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

pytestmark = pytest.mark.slow

DRF = "rest_framework"
HERE = "tests.api.project_of_other_tastes"
SETTINGS: dict[str, dict[str, Any]] = {
    "renderers that alter names": {"DEFAULT_RENDERER_CLASSES": [f"{HERE}.Shouting"]},
    "pages alone": {"DEFAULT_RENDERER_CLASSES": [f"{DRF}.renderers.BrowsableAPIRenderer"]},
    "parsers": {"DEFAULT_PARSER_CLASSES": [f"{HERE}.Deaf"]},
    "versions": {"DEFAULT_VERSIONING_CLASS": f"{DRF}.versioning.NamespaceVersioning", "DEFAULT_VERSION": "v1"},
    "nobody": {"UNAUTHENTICATED_USER": None, "UNAUTHENTICATED_TOKEN": None},
    "classes": {
        "EXCEPTION_HANDLER": f"{HERE}.refuse",
        "DEFAULT_METADATA_CLASS": None,
        "DEFAULT_PAGINATION_CLASS": f"{DRF}.pagination.LimitOffsetPagination",
        "DEFAULT_FILTER_BACKENDS": [f"{DRF}.filters.SearchFilter"],
        "DEFAULT_PERMISSION_CLASSES": [f"{DRF}.permissions.IsAdminUser"],
        "PAGE_SIZE": 1,
    },
    "formats": {
        "DATETIME_FORMAT": "%d.%m.%Y",
        "DATETIME_INPUT_FORMATS": ["%d.%m.%Y"],
        "COERCE_DECIMAL_TO_STRING": False,
        "NON_FIELD_ERRORS_KEY": "lines",
        "URL_FORMAT_OVERRIDE": "as",
        "FORMAT_SUFFIX_KWARG": None,
        "SEARCH_PARAM": "page_size",
        "ORDERING_PARAM": "cursor",
        "COMPACT_JSON": False,
        "UNICODE_JSON": False,
        "STRICT_JSON": False,
        "NUM_PROXIES": 3,
        "TEST_REQUEST_DEFAULT_FORMAT": "json",
    },
    "throttles": {
        "DEFAULT_THROTTLE_CLASSES": [f"{DRF}.throttling.UserRateThrottle", f"{DRF}.throttling.ScopedRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "1000/min"},
    },
}


@cache
def responses(settings: str) -> dict[str, Any]:
    environment = {**os.environ, "TEST_REST_FRAMEWORK": settings, "TEST_DATABASE": "sqlite"}
    done = subprocess.run(
        [sys.executable, "-m", HERE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_responses_are_as_the_document_says_without_any_settings():
    found = responses("{}")

    assert found["made"] == [
        201,
        "application/json",
        {"gift_wrap": {"of_paper": 1.5}},
        "2026-11-24T06:00:00.123456Z",
        "9.90",
    ]
    assert found["list"] == [200, ["next", "previous", "results"]]
    assert found["wrong"][:2] == [400, "application/problem+json"]
    assert found["others"] == [404, 200]
    assert found["anonymous"] == [403, "application/problem+json"]


@pytest.mark.parametrize("name", SETTINGS)
def test_responses_are_the_same_under_other_settings(name):
    assert responses(json.dumps(SETTINGS[name])) == responses("{}")
