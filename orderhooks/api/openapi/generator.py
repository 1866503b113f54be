"""Generates the OpenAPI document of the API's own URLs, once per process and topic catalogue.

Nothing here reads drf-spectacular's settings: SPECTACULAR_SETTINGS are for the store's own document.
"""

import functools
import json
from collections.abc import Hashable, Sequence
from typing import Any

from django.urls import URLPattern
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.plumbing import build_mock_request

import orderhooks
from orderhooks import conf, topics
from orderhooks.api.openapi import problems
from orderhooks.api.openapi.auto_schema import ApiAutoSchema
from orderhooks.api.openapi.descriptions import Schema
from orderhooks.api.openapi.webhooks import webhooks

__all__ = ["document"]

DESCRIPTION = """\
Orders, and the webhooks that tell other systems what happens to them.

Ids are public ids; rows that belong to an order, such as its lines and payments, have numbers. Times are ISO 8601 in
UTC, amounts are text. Lists are paginated, newest first. An unknown query parameter is an error. Errors are problem
details (RFC 9457): 400 if the request does not match this document, 422 if it does and its content is not valid.

You see the subscriptions that you created and what belongs to them, or all with the permission
`manage_all_subscriptions`. Payloads, errors of events, and headers and bodies of attempts need `view_payload`.
"""
TAGS = {
    "orders": "The store's orders.",
    "events": "What happened to orders.",
    "consumers": "Programs that poll the feed of events.",
    "topics": "The kinds of events.",
    "subscriptions": "Endpoints, and the topics that they receive.",
    "deliveries": "The log: each event for each subscription.",
    "replays": "Events of a period, sent again.",
    "backfills": "The orders that exist, sent to one subscription.",
    "stats": "Success rates and response times.",
    "webhooks": "The requests that receivers get.",
}


class _AnyUser:
    """A user with all permissions, so that serializers show every field."""

    is_authenticated = True

    def has_perm(self, _permission: str) -> bool:
        return True


class _Endpoints(EndpointEnumerator):
    def get_api_endpoints(self, patterns: Any = None, prefix: str = "") -> Any:
        return self._get_api_endpoints(patterns, prefix)


class _Generator(SchemaGenerator):
    """Describes each view with ApiAutoSchema, whatever the store's DEFAULT_SCHEMA_CLASS is."""

    endpoint_inspector_cls = _Endpoints

    def get_schema(self, request: Any = None, public: bool = False) -> Schema:
        paths = self.parse(request, public)
        described, schemas = webhooks()
        return {
            "openapi": "3.1.1",
            "info": {"title": "orderhooks", "version": orderhooks.__version__, "description": DESCRIPTION},
            "paths": paths,
            "components": self.registry.build(
                {"schemas": {**schemas, **problems.SCHEMAS}, "responses": problems.RESPONSES}
            ),
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "webhooks": described,
        }

    def parse(self, input_request: Any, public: bool) -> dict[str, Schema]:
        self._initialise_endpoints()
        paths: dict[str, Schema] = {}
        for path, path_regex, method, view in self._get_paths_and_endpoints():
            view.request = build_mock_request(method, path, view, input_request)
            view.request.user = _AnyUser()
            schema = ApiAutoSchema()
            schema.view = view
            operation = schema.get_operation(path, path_regex, "", method, self.registry)
            paths.setdefault(f"/{path.lstrip('/')}", {})[method.lower()] = operation
        return paths

    def coerce_path(self, path: str, method: str, view: Any) -> str:
        return path


def document(patterns: Sequence[URLPattern], *, server: str) -> Schema:
    """The OpenAPI 3.1 document of those of these URLs that the project has.

    `server`: the path at which the API is mounted.
    """
    catalogue = (*topics.catalogue().values(), *conf.current().sources)
    offered = tuple(pattern for pattern in patterns if pattern.callback.cls.is_offered())  # type: ignore[attr-defined]
    return {**_generate(offered, catalogue), "servers": [{"url": server}]}


@functools.lru_cache(maxsize=1)
def _generate(patterns: tuple[URLPattern, ...], _catalogue: Hashable) -> Schema:
    # Through JSON, so that the result holds plain values and shares nothing with the modules.
    generated: Schema = json.loads(json.dumps(_Generator(patterns=list(patterns)).get_schema(public=True)))
    return generated
