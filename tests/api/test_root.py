"""The root of the API: where its resources are."""

import pytest
from rest_framework.test import APIClient

from tests.api.calls import EVERYTHING, client_with

pytestmark = pytest.mark.django_db


def test_each_address_of_the_root_leads_somewhere():
    found = APIClient().get("/api/").json()

    assert {
        "orders",
        "events",
        "consumers",
        "topics",
        "subscriptions",
        "deliveries",
        "replays",
        "backfills",
        "stats",
        "schema",
    } == found.keys()
    for url in found.values():
        assert client_with(*EVERYTHING).get(url).status_code == 200, url


def test_a_browser_gets_a_page():
    response = APIClient().get("/api/", HTTP_ACCEPT="text/html")

    assert response["Content-Type"].startswith("text/html")
    assert b"/api/orders/" in response.content
