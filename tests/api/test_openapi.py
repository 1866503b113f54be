"""The OpenAPI document: it is valid, complete and true of the catalogue, and leaves the store's own one alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, path
from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import spectacular_settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from orderhooks import catalogue
from orderhooks.api.openapi import generator, routes
from orderhooks.api.protocol import problems
from orderhooks.api.urls import documented, urlpatterns
from tests.api.calls import client_with
from tests.factories import make_user

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def made() -> dict[str, Any]:
    """A document that was made for this test."""
    generator._generate.cache_clear()
    reset_generator_stats()
    return generator.document(documented, server="/api")


def operations(made: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): one for path, item in made["paths"].items() for method, one in item.items()}


def test_it_is_made_without_a_warning(made, capsys):
    assert (dict(GENERATOR_STATS._warn_cache), dict(GENERATOR_STATS._error_cache)) == ({}, {})
    assert capsys.readouterr().err == ""


def test_it_is_a_valid_document_of_openapi_3_1(made):
    assert made["openapi"].startswith("3.1")
    assert [str(error) for error in OpenAPIV31SpecValidator(made).iter_errors()] == []


def test_every_address_and_method_is_in_it_and_no_other(made):
    found = set()
    for pattern in documented:
        assert isinstance(pattern, URLPattern)
        example = f"/{_plain(str(pattern.pattern))}"
        found |= {(method, example) for method in vars(pattern.callback)["actions"] if method != "head"}
    assert set(operations(made)) == found
    # URLs that are not described: those of the document itself, and the one that is not found.
    others = [pattern for pattern in urlpatterns if pattern not in documented]
    assert {pattern.name for pattern in others} == {"root", "schema", "docs", "redoc", None}


def _plain(pattern: str) -> str:
    """`^orders/(?P<public_id>[^/.]+)/$` as `orders/{public_id}/`."""
    text = (
        pattern.strip("^$").replace("<path:name>", "{name}").replace("<str:source>/<path:number>", "{source}/{number}")
    )
    for name, regex, shown in (
        ("public_id", "[^/.]+", "public_id"),
        ("id", "[^/.]+", "id"),
        ("topic", "[^/]+", "topic"),
    ):
        text = text.replace(f"(?P<{name}>{regex})", f"{{{shown}}}")
    return text


def test_every_operation_says_what_it_does_and_how_it_fails(made):
    ids = [one["operationId"] for one in operations(made).values()]
    ids += [item["post"]["operationId"] for item in made["webhooks"].values()]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in made["tags"]}
    for (method, path_), one in operations(made).items():
        where = (method, path_)
        assert one["summary"], where
        assert set(one["tags"]) <= tags, where
        assert one["security"], where
        statuses = set(one["responses"])
        assert {"403", "404", "406", "503"} <= statuses, where
        if "requestBody" in one:
            assert {"400", "413", "415"} <= statuses, where
        names = {parameter["name"] for parameter in one.get("parameters", [])}
        # A key belongs to a user, and receivers have none.
        takes_keys = method == "post" and not path_.endswith("/resume-by-receiver/")
        assert ("Idempotency-Key" in names) == takes_keys, where
        for status, response in one["responses"].items():
            if status >= "400":
                known = (
                    made["components"]["responses"][response["$ref"].rpartition("/")[2]]
                    if "$ref" in response
                    else response
                )
                assert list(known["content"]) == [problems.MEDIA_TYPE], (where, status)


def test_the_document_describes_what_goes_beyond_reading_and_writing(made):
    told = operations(made)

    def names(method: str, path_: str) -> set[str]:
        return {one["name"] for one in told[method, path_]["parameters"]}

    assert {"cursor", "page_size", "ordering", "state", "since", "answered"} <= names("get", "/deliveries/")
    assert {"after", "subscription", "topic", "until"} <= names("get", "/events/")
    for method in ("put", "patch", "delete"):
        one = told[method, "/orders/{public_id}/"]
        assert "If-Match" in names(method, "/orders/{public_id}/")
        assert "412" in one["responses"]
    assert "ETag" in told["get", "/orders/{public_id}/"]["responses"]["200"]["headers"]
    assert "429" in told["post", "/subscriptions/{public_id}/test/"]["responses"]
    assert "Retry-After" in made["components"]["responses"]["ServiceUnavailable"]["headers"]
    schemas = made["components"]["schemas"]
    assert "secret" not in schemas["Subscription"]["properties"]
    assert "name" not in schemas["NamedSubscriptionRequest"]["properties"]
    assert "required" not in schemas["PatchedLineRequest"]
    assert {"payload", "changes"}.isdisjoint(schemas["Event"]["required"])


def test_examples_of_requests_fit_their_schemas(made):
    found = 0
    for where, one in operations(made).items():
        content = one.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            found += 1
            assert _errors(content["schema"], content["example"], made) == [], where
    assert found > 8


def test_each_topic_is_a_webhook_whose_example_fits_its_schema(settings, made):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"order.wrapped": "As a present."}}
    made = generator.document(documented, server="/api")
    assert list(made["webhooks"]) == [entry.name for entry in catalogue.entries()]
    assert made["webhooks"]["order.wrapped"]["post"]["description"] == "As a present."
    assert "order.wrapped" in json.dumps(made["components"]["schemas"]["SubscriptionRequest"])
    for name, item in made["webhooks"].items():
        content = item["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert _errors(content["schema"], content["example"], made) == [], name
        assert _errors(content["schema"], {**content["example"], "type": "order.other"}, made) != [], name
        assert _errors(content["schema"], {**content["example"], "data": {"order": {}, "changes": {}}}, made) != [], (
            name
        )
        assert {"2XX", "410", "429", "default"} == set(item["post"]["responses"])
        headers = [one["name"] for one in item["post"]["parameters"]]
        assert headers[:6] == [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "webhook-topic",
            "webhook-source",
            "webhook-attempt",
        ]


def _errors(schema: dict[str, Any], value: Any, made: dict[str, Any]) -> list[str]:
    whole = {"allOf": [schema], "components": made["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


@pytest.mark.django_db
def test_it_is_served_as_json_or_yaml_to_who_is_logged_in():
    api = client_with()
    response = api.get("/api/schema/")
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    told = json.loads(response.content)
    assert told["servers"] == [{"url": "/api"}]
    as_yaml = api.get("/api/schema/", headers={"accept": "application/yaml"})
    assert as_yaml["Content-Type"].startswith("application/yaml")
    assert yaml.safe_load(as_yaml.content) == told
    refused = APIClient().get("/api/schema/")
    assert (refused.status_code, refused["Content-Type"]) == (403, problems.MEDIA_TYPE)


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_page_has_a_strict_policy_and_needs_a_login(page):
    client = Client()
    assert client.get(f"/api/{page}/").status_code == 403
    client.force_login(make_user())
    response = client.get(f"/api/{page}/")
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "script-src" not in policy
    assert b"http" not in response.content
    assert b"<style" not in response.content
    # It holds the user's CSRF token.
    assert response["Cache-Control"] == "private, no-store"


class Cart(APIView):
    schema = AutoSchema()

    def get(self, request):
        """A cart of the store's own."""
        return Response({})


def store_document() -> Any:
    return SchemaGenerator(patterns=[path("carts/", Cart.as_view())]).get_schema(public=True)


# For the store's own document.
STORE_SETTINGS = {
    "TITLE": "A store",
    "OAS_VERSION": "3.0.3",
    "SCHEMA_PATH_PREFIX_INSERT": "/v1",
    "COMPONENT_SPLIT_REQUEST": False,
    "CAMELIZE_NAMES": True,
    "PREPROCESSING_HOOKS": [lambda endpoints: endpoints[:1]],
    "POSTPROCESSING_HOOKS": [lambda result, **_options: {**result, "tags": []}],
}


def test_neither_the_stores_document_nor_this_one_changes_the_other(monkeypatch, made):
    for name, value in STORE_SETTINGS.items():
        monkeypatch.setattr(spectacular_settings, name, value)
    before = store_document()
    former = {name: getattr(spectacular_settings, name) for name in spectacular_settings.defaults}
    generator._generate.cache_clear()
    ours = generator.document(documented, server="/api")
    assert ours == made
    assert {name: getattr(spectacular_settings, name) for name in former} == former
    assert store_document() == before
    assert list(before["paths"]) == ["/v1/carts/"]


def test_without_the_sidecar_there_is_the_document_alone(monkeypatch):
    monkeypatch.setattr("orderhooks.api.openapi.routes.apps.is_installed", lambda _name: False)
    assert [pattern.name for pattern in routes.schema_urls(documented)] == ["schema"]


WITHOUT = """
import importlib.util, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("drf_spectacular", "drf_spectacular_sidecar", "yaml"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("drf_spectacular") else find(name, *rest)
from django.conf import settings
from tests import settings as ours
values = {name: getattr(ours, name) for name in dir(ours) if name.isupper()}
values["INSTALLED_APPS"] = [app for app in values["INSTALLED_APPS"] if not app.startswith("drf_spectacular")]
settings.configure(**values)
import django
django.setup()
from django.test import Client
client = Client()
print([client.get(f"/api/{name}/").status_code for name in ("schema", "docs", "redoc", "orders/x/y")])
assert not [name for name in sys.modules if name.startswith("drf_spectacular")]
"""


def test_without_the_extra_its_addresses_are_not_there_and_the_api_is():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[404, 404, 404, 404]", done.stderr
