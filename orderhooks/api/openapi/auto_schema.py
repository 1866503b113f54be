"""Describes one operation for the OpenAPI document: what its table says, and what its view and serializers say."""

import typing
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.serializers import ListSerializer, SerializerMethodField

from orderhooks.api.deliveries import AttemptSerializer
from orderhooks.api.events import EventSerializer
from orderhooks.api.missed import MissedSerializer
from orderhooks.api.openapi import log, orders, parameters, problems, schemas, subscriptions
from orderhooks.api.openapi.describing import Answer, Key, Operation, Page, Schema, Source
from orderhooks.api.order_reports import LARGE, SubscriptionOutcomeSerializer
from orderhooks.api.protocol import idempotency

__all__ = ["OPERATIONS", "ApiAutoSchema"]

OPERATIONS: dict[Key, Operation] = orders.OPERATIONS | subscriptions.OPERATIONS | log.OPERATIONS
IDS = {
    "public_id": "Its id.",
    "topic": "The name of a topic, such as `order.paid`.",
    "name": "Its name, without the white space round it.",
}
SECRET = {"type": "string", "description": "If one was made: the signing secret, shown this once."}


class ApiAutoSchema(AutoSchema):
    """Describes one method of one URL. It reads no setting of drf-spectacular except those about authentication."""

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Schema:
        self.registry, self.path, self.path_regex = registry, path, path_regex
        self.path_prefix, self.method = path_prefix, method.upper()
        known = OPERATIONS[type(self._seen).__name__, self._seen.action]
        asked = self._asked(known)
        body = self._body(known)
        told: dict[int, Schema] = {status: self._answer(answer) for status, answer in known.answers.items()}
        told |= self._problems(known, reads_body=body is not None, asked=asked)
        return {
            "operationId": known.id,
            "summary": known.summary,
            **({"description": known.text} if known.text else {}),
            "tags": [path.strip("/").partition("/")[0]],
            **({"parameters": asked} if asked else {}),
            **({"requestBody": body} if body is not None else {}),
            "security": self.get_auth(),
            "responses": {str(status): told[status] for status in sorted(told)},
        }

    @property
    def _seen(self) -> Any:
        """The view, which has more to tell than every view of DRF's."""
        return self.view

    def _asked(self, known: Operation) -> list[Schema]:
        view = self._seen
        asked = [parameters.in_path(name, self._id(name), IDS[name]) for name in IDS if f"{{{name}}}" in self.path]
        if view.action == "list" and hasattr(view, "filterset_class"):
            asked += [*parameters.filters_of(view.filterset_class), *parameters.paging(view.ordered_by)]
        elif view.action == "attempts":
            asked += parameters.paging(view.ordered_by)
        if self.method == "POST":
            asked.append(parameters.IDEMPOTENCY_KEY)
        return [*asked, *known.parameters]

    def _id(self, name: str) -> Schema:
        if name == "public_id":
            return {"type": "string", "pattern": f"^{self._seen.public_id_prefix}[0-9A-Z]{{26}}$"}
        if name == "name":
            return {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\u0000\n]*$"}
        return {"type": "string", "pattern": "^[^/]+$"}

    def _body(self, known: Operation) -> Schema | None:
        if known.body is None:
            return None
        name = self._component(known.body, "request")
        schema: Schema = self.registry[name, ResolvedComponent.SCHEMA].schema
        shown: Schema = {"$ref": f"#/components/schemas/{name}"}
        if known.without:
            named = f"Named{name}"
            left = {key: value for key, value in schema["properties"].items() if key not in known.without}
            needed = [key for key in schema["required"] if key not in known.without]
            schema = {**schema, "properties": left, "required": needed}
            shown = self._add(named, schema)
        elif self.method == "PATCH":
            schema, shown = {}, self._patched(name, schema)
        content: Schema = {"schema": shown}
        if known.example is not None:
            content["example"] = known.example
        return {"content": {"application/json": content}, **({"required": True} if schema.get("required") else {})}

    def _patched(self, name: str, schema: Schema) -> Schema:
        """What a PATCH takes: no field is required, and nor is one of a line."""
        properties = {
            key: {name: part for name, part in value.items() if name != "default"}
            for key, value in schema["properties"].items()
        }
        for key, value in properties.items():
            inner = value.get("items", {}).get("$ref", "").rpartition("/")[2]
            if inner:
                lines = self.registry[inner, ResolvedComponent.SCHEMA].schema
                properties[key] = {**value, "items": self._patched(inner, lines)}
        return self._add(f"Patched{name}", {"type": "object", "properties": properties, "additionalProperties": False})

    def _answer(self, answer: Answer) -> Schema:
        names = [*answer.headers, *([idempotency.REPLAYED_HEADER] if self.method == "POST" else [])]
        headers = {"headers": {name: parameters.ANSWERED[name] for name in names}} if names else {}
        if answer.body is None:
            return {"description": answer.text, **headers}
        schema = self._shown(answer.body)
        if answer.secret:
            schema = self._add(
                "SubscriptionWithSecret",
                {"allOf": [schema, {"type": "object", "properties": {"secret": SECRET}}]},
            )
        return {"description": answer.text, "content": {answer.media_type: {"schema": schema}}, **headers}

    def _shown(self, source: Source) -> Schema:
        if isinstance(source, dict):
            return source
        if not isinstance(source, Page):
            return {"$ref": f"#/components/schemas/{self._component(source, 'response')}"}
        name = self._component(source.of, "response")
        address: Schema = {"type": ["string", "null"], "format": "uri"}
        page = {
            "type": "object",
            "properties": {
                "next": {**address, "description": "The page behind this one; null if this is the last."},
                "previous": address,
                "results": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
            },
            "required": ["next", "previous", "results"],
        }
        return self._add(f"PageOf{name}", page)

    def _problems(self, known: Operation, *, reads_body: bool, asked: list[Schema]) -> dict[int, Schema]:
        query = {one["name"] for one in asked if one["in"] == "query"}
        first = next(iter(self.view.get_authenticators()), None)
        found = problems.meanings(
            known,
            posts=self.method == "POST",
            reads_body=reads_body,
            reads_query=bool(query),
            pages="cursor" in query,
            logs_in=first is not None and first.authenticate_header(self.view.request) is not None,
            rated=self._seen.action in self._seen.throttle_scopes,
        )
        return {status: problems.response(status, text) for status, text in found.items()}

    def _component(self, serializer: Any, direction: Any) -> str:
        return str(self.resolve_serializer(serializer, direction).name)

    def _add(self, name: str, schema: Schema) -> Schema:
        component = ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, schema=schema, object=name)
        self.registry.register_on_missing(component)
        return {"$ref": f"#/components/schemas/{name}"}

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Schema:
        is_request = direction == "request"
        name = type(serializer).__name__.removesuffix("Serializer")
        properties, required = {}, []
        serializer.context.setdefault("request", self.view.request)
        for key, field in serializer.fields.items():
            if is_request and field.read_only:
                continue
            properties[key] = self._field(name, field, direction)
            if field.required if is_request else (name, key) not in schemas.HIDDEN:
                required.append(key)
        text = {"description": _in_lines(type(serializer).__doc__)} if type(serializer).__doc__ else {}
        # See `api.members`. (What can only be read may be sent back too, which is nothing to ask for.)
        closed = {"additionalProperties": False} if is_request else {}
        needed = {"required": required} if required else {}
        return {"type": "object", **text, "properties": properties, **needed, **closed}

    def _field(self, owner: str, field: Any, direction: Any) -> Schema:
        if (owner, field.field_name) in schemas.TOLD:
            return schemas.TOLD[owner, field.field_name]
        if field.field_name == "attempts" and isinstance(field, SerializerMethodField):
            schema = self._many(AttemptSerializer, direction)
        elif isinstance(field, ListSerializer):
            schema = self._many(type(field.child), direction)
            most: Any = getattr(field, "max_length", None)
            if direction == "request" and most is not None:
                schema["maxItems"] = most
        else:
            plain = schemas.of_field(field, is_request=direction == "request")
            schema = _of_method(field) if plain is None else plain
        if schemas.is_nullable(field) and isinstance(schema.get("type"), str):
            schema = {**schema, "type": [schema["type"], "null"]}
        return {**schema, "description": str(field.help_text)} if field.help_text else schema

    def _get_serializer_name(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> str:
        return type(serializer).__name__.removesuffix("Serializer") + ("Request" if direction == "request" else "")

    def _many(self, serializer: Any, direction: Any) -> Schema:
        return {"type": "array", "items": {"$ref": f"#/components/schemas/{self._component(serializer, direction)}"}}

    def add_parts(self, registry: Any) -> None:
        """The components that answers hold beside those of their own serializers."""
        self.registry = registry
        names = [
            self._component(one, "response")
            for one in (EventSerializer, MissedSerializer, SubscriptionOutcomeSerializer)
        ]
        event = self.registry[names[0], ResolvedComponent.SCHEMA].schema
        shown = {name: schema for name, schema in event["properties"].items() if name not in LARGE}
        outcomes = {"type": "array", "items": {"$ref": "#/components/schemas/SubscriptionOutcome"}}
        properties = {**shown, "subscriptions": outcomes}
        required = [name for name in properties if ("Event", name) not in schemas.HIDDEN]
        self._add("EventReport", {"type": "object", "properties": properties, "required": required})
        self._shown(Page(EventSerializer))
        for name, schema in (orders.COMPONENTS | problems.COMPONENTS).items():
            self._add(name, schema)


def _of_method(field: SerializerMethodField) -> Schema:
    """The schema of what the method of a SerializerMethodField is annotated to return: text, a list of it, or null."""
    returned = typing.get_type_hints(getattr(field.parent, str(field.method_name)))["return"]
    if returned == list[str]:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": ["string", "null"] if returned == str | None else "string"}


def _in_lines(text: str | None) -> str:
    """A docstring as the paragraphs that it is."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))
