"""What the checks say of a shop that is connected by halves, and what is left out where an app is missing."""

from typing import Any

import pytest
from django.core import checks
from oscar.core.exceptions import AppNotFoundError
from oscar.core.loading import get_class

from orderhooks.contrib.oscar import steps


def warnings() -> list[str]:
    return [one.id or "" for one in checks.run_checks() if (one.id or "").startswith("orderhooks.W08")]


@pytest.mark.django_db
def test_the_app_without_the_source_is_reported(settings: Any) -> None:
    assert warnings() == []
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
    assert warnings() == ["orderhooks.W080"]


def test_a_shop_without_the_dashboard_has_the_other_steps(monkeypatch: Any) -> None:
    def without_dashboard(module: str, name: str) -> Any:
        if module.startswith("dashboard"):
            raise AppNotFoundError(module)
        return get_class(module, name)

    monkeypatch.setattr(steps, "get_class", without_dashboard)
    owners = [owner.__name__ for owner, _names in steps._steps()]
    assert "OrderDetailView" not in owners
    assert {"Order", "Source", "EventHandler", "OrderPlacementMixin"} <= set(owners)
