"""The tests of django-oscar run in a project of their own: `make oscar`. Elsewhere one is skipped, with the reason."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from orderhooks.testing import Captured, capture

# They import Oscar. The one that is left says why.
collect_ignore_glob = [] if apps.is_installed("orderhooks.contrib.oscar") else ["test_[!i]*.py"]


@pytest.fixture
def captured(transactional_db: Any) -> Iterator[Captured]:
    """The events of orders; nothing but the test's own code begins a transaction."""
    with capture() as events:
        assert connection.get_autocommit()
        yield events
