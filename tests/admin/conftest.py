"""The operator that most tests of the admin are."""

import pytest
from django.test import Client

from tests.admin.visits import client_of
from tests.factories import (
    make_user,
)


@pytest.fixture
def operator() -> Client:
    return client_of(make_user(is_staff=True, is_superuser=True))
