"""The pytest plugin, which pytest loads where orderhooks is installed: it must import nothing before it is used."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def orderhooks_events(db: None) -> Iterator[Any]:
    """The events of orders during the test: `.topics`, `.events`, `.sent_to(…)`. See `orderhooks.testing.capture`."""
    from orderhooks.testing import capture

    with capture() as captured:
        yield captured
