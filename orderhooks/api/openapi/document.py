"""The document itself: made by drf-spectacular of the API's own addresses alone, once for a process and catalogue."""

import json
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import build_mock_request, get_lib_doc_excludes
from drf_spectacular.settings import SPECTACULAR_DEFAULTS, spectacular_settings

import orderhooks
from orderhooks import conf, topics
from orderhooks.api.openapi import problems
from orderhooks.api.openapi.describing import Schema
from orderhooks.api.openapi.inspecting import Described
from orderhooks.api.openapi.webhooks import webhooks

__all__ = ["Generator", "document"]

TEXT = """\
Orders, and the webhooks that tell other systems what happens to them.

Ids are public ids. Times are ISO 8601 in UTC, money is text. Lists come in pages, newest first; an unknown query
parameter is an error. Errors are problem details (RFC 9457): 400 if the request is not of the form that this document
asks for, 422 if it is and is refused for what it says.

You see the subscriptions that you made and what belongs to them; with the permission `manage_all_subscriptions` all.
Payloads, errors of events, and headers and bodies of the log take `view_payload`.
"""
TAGS = {
    "orders": "The store's orders.",
    "events": "What happened to orders.",
    "topics": "What can happen.",
    "subscriptions": "Who wants to hear what, and where.",
    "deliveries": "The log: each event for each subscription.",
    "replays": "Events of a time, sent again.",
    "stats": "How it has been going.",
    "webhooks": "What receivers get.",
}


class _Reader:
    """Who asks for nothing and sees every field."""

    is_authenticated = True

    def has_perm(self, _permission: str) -> bool:
        return True


def _request(method: str, path: str, view: Any, original: Any, **options: Any) -> Any:
    request = build_mock_request(method, path, view, original, **options)
    request.user = _Reader()
    return request


# The store's settings are for its own document.
OURS: dict[str, Any] = {
    "OAS_VERSION": "3.1.1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [],
    "SCHEMA_PATH_PREFIX": "",
    "SORT_OPERATIONS": False,
    "TITLE": "orderhooks",
    "DESCRIPTION": TEXT,
    "VERSION": orderhooks.__version__,
    "GET_MOCK_REQUEST": _request,
    "GET_LIB_DOC_EXCLUDES": get_lib_doc_excludes,
    "TAGS": [{"name": name, "description": text} for name, text in TAGS.items()],
}
SERVED = ("SERVE_", "DEFAULT_GENERATOR_CLASS")

_making = threading.Lock()
# By what the settings TOPICS and SOURCES say.
_made: dict[Hashable, Schema] = {}


class Generator(SchemaGenerator):
    """Sees the API's views by its own tables, whatever the store's DEFAULT_SCHEMA_CLASS is."""

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        view = super().create_view(callback, method, request)
        view.schema = described = Described()
        described.view = view
        self.any_view = view
        return view

    def get_schema(self, request: Any = None, public: bool = False) -> Schema:
        made: Schema = super().get_schema(request, public)
        described = Described()
        described.view = self.any_view
        described.add_parts(self.registry)
        made["webhooks"], parts = webhooks()
        made["components"] = self.registry.build({"schemas": parts, "responses": problems.RESPONSES})
        return made


def document(*, server: str) -> Schema:
    """The document, of an API that is mounted at that address."""
    catalogue = (*topics.catalogue().values(), *conf.current().sources)
    with _making:
        if catalogue not in _made:
            _made.clear()
            _made[catalogue] = _make()
        made = _made[catalogue]
    return {**made, "servers": [{"url": server}]}


def _make() -> Schema:
    from orderhooks.api.urls import described

    with _our_settings():
        # As what it is read as: plain values, and nothing that the modules share.
        made: Schema = json.loads(json.dumps(Generator(patterns=described).get_schema(public=True)))
        return made


@contextmanager
def _our_settings() -> Iterator[None]:
    """What drf-spectacular calls custom settings, for as long as it takes.

    Its own way to set them is not fit for two threads at once. This one is, as the document is made once; a thread that
    makes the store's own document in that moment would see them.
    """
    defaults = {name: value for name, value in SPECTACULAR_DEFAULTS.items() if not name.startswith(SERVED)}
    former = {name: getattr(spectacular_settings, name) for name in defaults}
    try:
        # Of those that are dotted paths until they are read, each is among ours.
        for name, value in {**defaults, **OURS}.items():
            setattr(spectacular_settings, name, value)
        yield
    finally:
        for name, value in former.items():
            setattr(spectacular_settings, name, value)
