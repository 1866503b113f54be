"""Builds the description of one operation: what its action says, and what its view and serializers imply."""

import typing
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.serializers import BaseSerializer, ListSerializer, SerializerMethodField

from orderhooks.api.openapi import parameters, problems, schemas
from orderhooks.api.openapi.descriptions import ApiResponse, Body, Envelope, ListOf, OneOf, Operation, Schema
from orderhooks.api.protocol import idempotency

__all__ = ["ApiAutoSchema"]

PATH_PARAMETERS = {
    "public_id": "The id.",
    "id": "The id of a row that belongs to the order.",
    "topic": "The name of a topic, such as `order.paid`.",
    "source": "The name of an order source, as in events.",
    "number": "The number of the order, percent-encoded. It may contain slashes.",
    "name": "The name, without surrounding white space.",
}
# Of path parameters that may contain slashes.
LONGEST = {"name": 200, "number": 255}
SECRET = {"type": "string", "description": "The new signing secret, if one was created. It is shown only this once."}


class ApiAutoSchema(AutoSchema):
    """Describes one method of one URL. It reads no setting of drf-spectacular except those about authentication."""

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Schema:
        self.registry, self.path, self.path_regex = registry, path, path_regex
        self.path_prefix, self.method = path_prefix, method.upper()
        operation = self._operation()
        request_parameters = self._request_parameters(operation)
        request_body = self._request_body(operation)
        responses = {status: self._response(response) for status, response in operation.responses.items()}
        responses |= self._problems(operation, has_body=request_body is not None, request_parameters=request_parameters)
        return {
            "operationId": operation.id,
            "summary": operation.summary,
            **({"description": operation.description} if operation.description else {}),
            "tags": [path.strip("/").partition("/")[0]],
            **({"parameters": request_parameters} if request_parameters else {}),
            **({"requestBody": request_body} if request_body is not None else {}),
            # An empty requirement where there is no login.
            "security": self.get_auth() or [{}],
            "responses": {str(status): responses[status] for status in sorted(responses)},
        }

    def _operation(self) -> Operation:
        view: Any = self.view
        inherited: Operation | None = view.inherited_operations.get(view.action)
        operation: Operation = inherited or getattr(view, view.action).operation
        return operation

    def _request_parameters(self, operation: Operation) -> list[Schema]:
        view: Any = self.view
        found = [
            parameters.in_path(name, self._path_parameter(name), description)
            for name, description in PATH_PARAMETERS.items()
            if f"{{{name}}}" in self.path
        ]
        if view.action == "list" and hasattr(view, "filterset_class"):
            found += [*parameters.filters_of(view.filterset_class), *parameters.paging(view.ordered_by)]
        if self._takes_idempotency_keys():
            found.append(parameters.IDEMPOTENCY_KEY)
        return [*found, *operation.parameters]

    def _takes_idempotency_keys(self) -> bool:
        view: Any = self.view
        return self.method == "POST" and view.takes_idempotency_keys

    def _path_parameter(self, name: str) -> Schema:
        view: Any = self.view
        if name == "public_id":
            return {"type": "string", "pattern": f"^{view.public_id_prefix}[0-9A-Z]{{26}}$"}
        if name == "id":
            return {"type": "integer", "minimum": 1}
        if name in LONGEST:
            return {"type": "string", "minLength": 1, "maxLength": LONGEST[name], "pattern": r"^[^\u0000\n]*$"}
        return {"type": "string", "pattern": "^[^/]+$"}

    def _request_body(self, operation: Operation) -> Schema | None:
        if operation.request is None:
            return None
        name = self._component_name(operation.request, "request")
        schema: Schema = self.registry[name, ResolvedComponent.SCHEMA].schema
        is_required = bool(schema.get("required")) and self.method != "PATCH"
        content: Schema = {"schema": self._patched(name, schema) if self.method == "PATCH" else _reference(name)}
        if operation.example is not None:
            content["example"] = operation.example
        return {"content": {"application/json": content}, **({"required": True} if is_required else {})}

    def _patched(self, name: str, schema: Schema) -> Schema:
        """The body of a PATCH: no field is required, neither of the row nor of its lines, and there are no defaults."""
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

    def _response(self, response: ApiResponse) -> Schema:
        names = [*response.headers, *([idempotency.REPLAYED_HEADER] if self._takes_idempotency_keys() else [])]
        headers = {"headers": {name: parameters.RESPONSE_HEADERS[name] for name in names}} if names else {}
        if response.body is None:
            return {"description": response.description, **headers}
        schema = self._body(response.body)
        if response.has_secret:
            with_secret = {"allOf": [schema, {"type": "object", "properties": {"secret": SECRET}}]}
            schema = self._add("SubscriptionWithSecret", with_secret)
        return {"description": response.description, "content": {response.media_type: {"schema": schema}}, **headers}

    def _body(self, body: Body, direction: str = "response") -> Schema:
        match body:
            case dict():
                return body
            case OneOf():
                return {"anyOf": [self._body(one) for one in body.bodies]}
            case ListOf():
                return {"type": "array", "items": self._body(body.serializer, direction)}
            case Envelope():
                properties = {**body.properties, "results": self._body(ListOf(body.serializer))}
                schema = {"type": "object", "properties": properties, "required": list(properties)}
                return self._add(body.name, schema) if body.name else schema
        return _reference(self._component_name(body, direction))

    def _problems(self, operation: Operation, *, has_body: bool, request_parameters: list[Schema]) -> dict[int, Schema]:
        view: Any = self.view
        query = {parameter["name"] for parameter in request_parameters if parameter["in"] == "query"}
        authenticator = next(iter(view.get_authenticators()), None)
        meanings = problems.meanings(
            operation,
            is_post=self.method == "POST",
            has_body=has_body,
            has_query=bool(query),
            has_cursor="cursor" in query,
            has_challenge=authenticator is not None and authenticator.authenticate_header(view.request) is not None,
            is_throttled=view.action in view.throttle_scopes,
        )
        return {status: problems.response(status, meaning) for status, meaning in meanings.items()}

    def _component_name(self, serializer: Any, direction: Any) -> str:
        return str(self.resolve_serializer(serializer, direction).name)

    def _add(self, name: str, schema: Schema) -> Schema:
        component = ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, schema=schema, object=name)
        self.registry.register_on_missing(component)
        return _reference(name)

    def _get_serializer_name(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> str:
        return type(serializer).__name__.removesuffix("Serializer") + ("Request" if direction == "request" else "")

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Schema:
        is_request = direction == "request"
        confidential = getattr(serializer, "confidential_fields", ())
        properties, required = {}, []
        serializer.context.setdefault("request", self.view.request)
        for key, field in serializer.fields.items():
            if is_request and field.read_only:
                continue
            properties[key] = self._field(serializer, field, direction)
            # Confidential fields are missing for users who may not see payloads.
            if field.required if is_request else key not in confidential:
                required.append(key)
        description = {"description": _unwrapped(serializer.__doc__)} if serializer.__doc__ else {}
        # `api.members` refuses unknown members. It accepts read-only ones, but no client has to send them.
        closed = {"additionalProperties": False} if is_request else {}
        needed = {"required": required} if required else {}
        return {"type": "object", **description, "properties": properties, **needed, **closed}

    def _field(self, serializer: BaseSerializer[Any], field: Any, direction: Any) -> Schema:
        known: dict[str, Body] = getattr(serializer, "field_schemas", {})
        if field.field_name in known:
            schema = self._body(known[field.field_name], direction)
        elif isinstance(field, ListSerializer):
            child: Any = type(field.child)
            schema = self._body(ListOf(child), direction)
            max_length: Any = getattr(field, "max_length", None)
            if direction == "request" and max_length is not None:
                schema["maxItems"] = max_length
        elif isinstance(field, BaseSerializer):
            schema = self._body(type(field), direction)
            if field.allow_null:
                schema = {"oneOf": [schema, {"type": "null"}]}
        elif isinstance(field, SerializerMethodField):
            schema = _returned_by(field)
        else:
            schema = schemas.of_field(field, is_request=direction == "request")
        if schemas.is_nullable(field) and isinstance(schema.get("type"), str):
            schema = {**schema, "type": [schema["type"], "null"]}
        return {**schema, "description": str(field.help_text)} if field.help_text else schema


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _returned_by(field: SerializerMethodField) -> Schema:
    """The schema of what the field's method is annotated to return: text, a list of it, or null."""
    returned = typing.get_type_hints(getattr(field.parent, str(field.method_name)))["return"]
    if returned == list[str]:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": ["string", "null"] if returned == str | None else "string"}


def _unwrapped(text: str) -> str:
    """The paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
