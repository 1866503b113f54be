"""How the tests of the API call it and read its responses."""

from typing import Any

from rest_framework.test import APIClient

from tests.factories import make_user

RECORDS = ("order", "fulfillment", "payment", "refund", "subscription", "delivery", "event", "replay", "backfill")
EVERYTHING = [f"{verb}_{record}" for verb in ("view", "add", "change", "delete") for record in RECORDS] + [
    "redeliver_delivery",
    "view_payload",
    "manage_all_subscriptions",
]


def client_with(*permissions: str) -> APIClient:
    client = APIClient()
    client.force_login(make_user(*permissions))
    return client


def post(api: APIClient, path: str, data: Any) -> Any:
    return api.post(f"/api{path}", data, format="json")


def patch(api: APIClient, path: str, data: Any) -> Any:
    return api.patch(f"/api{path}", data, format="json")


def errors_of(response: Any) -> dict[str, str]:
    """The texts of a problem's errors by the place that they name."""
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, str] = {}
    for one in response.data["errors"]:
        place = one["pointer"] if "pointer" in one else f"?{one['parameter']}"
        found[place] = " ".join([*filter(None, [found.get(place)]), one["detail"]])
    return found


def has_key(data: Any, key: str) -> bool:
    if isinstance(data, dict):
        return key in data or any(has_key(value, key) for value in data.values())
    return isinstance(data, list) and any(has_key(value, key) for value in data)


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.data
    return [one["public_id"] for one in response.data["results"]]
