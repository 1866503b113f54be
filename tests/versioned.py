"""A store with three versions of the body: the first; one that renames a field; one in which a field is an object."""

from typing import Any

from orderhooks.sources import BuiltInOrders

FIRST, RENAMED, NESTED = "2026-11-01", "2027-01-15", "2027-06-01"
API_VERSIONS: dict[str, dict[str, str]] = {
    NESTED: {
        "to_previous": "tests.versioned.without_objects",
        "description": "`total` is an object with `amount` and `currency`.",
    },
    RENAMED: {
        "to_previous": "tests.versioned.with_the_former_name",
        "description": "`note` is called `customer_note`.",
        "deprecated_at": "2027-07-01",
    },
    FIRST: {
        "deprecated_at": "2027-02-01",
        "sunset_at": "2028-02-01",
        "documentation": "https://shop.example.com/webhooks/versions",
    },
}
SETTINGS = {"API_VERSIONS": API_VERSIONS, "SOURCES": ["tests.versioned.Orders"]}


def renamed(data: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """With another name at the same place: the bytes depend on the order of the keys."""
    return {new if name == old else name: value for name, value in data.items()}


class Orders(BuiltInOrders):
    """The built-in order in the newest version."""

    def payload(self, order: Any) -> dict[str, Any]:
        return self._newest(super().payload(order))

    def example(self) -> dict[str, Any]:
        return self._newest(super().example())

    def schema(self) -> dict[str, Any]:
        schema = super().schema()
        total = {"type": "object", "properties": {"amount": {"type": "string"}, "currency": {"type": "string"}}}
        properties = renamed(schema["properties"], "note", "customer_note") | {"total": total}
        return {**schema, "properties": properties, "required": list(properties)}

    @staticmethod
    def _newest(order: dict[str, Any]) -> dict[str, Any]:
        total = {"amount": order["total"], "currency": order["currency"]}
        return renamed({**order, "total": total}, "note", "customer_note")


def without_objects(body: dict[str, Any]) -> dict[str, Any]:
    order = body["data"]["order"]
    order["total"] = order["total"]["amount"]
    return body


def with_the_former_name(body: dict[str, Any]) -> dict[str, Any]:
    body["data"]["order"] = renamed(body["data"]["order"], "customer_note", "note")
    return body


def with_changes_renamed(body: dict[str, Any]) -> dict[str, Any]:
    body["data"]["changes"] = renamed(body["data"]["changes"], "customer_note", "note")
    return body


def raises(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "data": {**body["data"], "total": body["data"]["order"]["no_such_field"]}}


def raises_with_values(body: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(f"I do not like {body['data']['order']['customer']['email']}")


def looks_up_a_value(body: dict[str, Any]) -> dict[str, Any]:
    labels: dict[str, str] = {}
    return {**body, "data": {"label": labels[body["data"]["order"]["customer"]["email"]]}}


def returns_nothing(body: dict[str, Any]) -> None:
    body["data"]["order"].clear()


def changes_the_id(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "id": "evt_other"}


def drops_the_data(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": body["id"], "type": body["type"]}


def returns_a_set(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "data": {"order": {1, 2}}}


not_a_function = "text"
