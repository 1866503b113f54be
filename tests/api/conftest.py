"""The caller that most tests of the API are."""

import pytest
from rest_framework.test import APIClient

from tests.api.calls import EVERYTHING, client_with


@pytest.fixture
def api() -> APIClient:
    return client_with(*EVERYTHING)
