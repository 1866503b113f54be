"""How an endpoint is doing, in words: a table of what operators read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orderhooks.admin.subscriptions.banners import banner
from orderhooks.models import Subscription

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def banner_text(held: int = 0, **fields: Any) -> tuple[str, str]:
    """The level and all of the text."""
    found = banner(Subscription(**fields), now=NOW, held=lambda: held)
    return found.level, f"{found.title} {found.reason} {found.remedy}".replace("\xa0", " ")


@pytest.mark.parametrize(
    ("fields", "level", "pieces"),
    [
        (
            {"state": "disabled", "state_reason": "It responded with 410.", "held": 3},
            "stopped",
            ["Disabled", "It responded with 410.", "send a test, then resume", "3 deliveries wait."],
        ),
        ({"state": "paused", "held": 1}, "stopped", ["Paused", "An operator paused it", "Resume", "1 delivery waits."]),
        # Stopped by a person goes before how it was doing.
        ({"state": "paused", "failing_since": NOW - HOUR, "circuit_open_until": NOW + HOUR}, "stopped", ["Paused"]),
        (
            {
                "circuit_open_until": NOW + timedelta(seconds=42),
                "last_failure": "The endpoint responded with 503.",
                "held": 20_000,
            },
            "warning",
            ["Nothing is sent to it until", "cooling down", "one request tries it", "10,000+ deliveries wait."],
        ),
        ({"circuit_open_until": NOW + 5 * timedelta(minutes=1)}, "warning", ["in 5", "No delivery waits."]),
        (
            {
                "failing_since": NOW - 2 * HOUR,
                "consecutive_failures": 7,
                "last_failure": "The endpoint responded with 500.",
                "last_failure_at": NOW - HOUR,
                "circuit_open_until": NOW - HOUR,
            },
            "warning",
            ["Failing since", "7 attempts", "responded with 500", "it will be disabled at Nov. 29"],
        ),
        ({"failing_since": NOW, "consecutive_failures": 1}, "warning", ["1 attempt"]),
        (
            {"recovered_at": NOW - HOUR / 4, "last_success_at": NOW, "last_failure": "It was slow.", "held": 5},
            "busy",
            ["Recovered 15 min ago", "Before that: It was slow.", "nothing to do", "5 deliveries wait."],
        ),
        (
            {"recovered_at": NOW - 2 * HOUR, "last_success_at": NOW - 30 * HOUR},
            "well",
            ["its deliveries arrive", "Last success: Nov. 23, 2026, 6 a.m."],
        ),
        ({}, "busy", ["nothing has arrived there yet", "Send a test"]),
    ],
)
def test_the_banner_says_the_state_the_reason_and_what_to_do(fields, level: str, pieces: list[str]) -> None:
    found, text = banner_text(**fields)
    assert found == level
    assert [piece for piece in pieces if piece not in text] == []


def test_what_waits_is_counted_only_where_it_matters() -> None:
    def held() -> int:
        raise AssertionError("nobody needs to know")

    banner(Subscription(last_success_at=NOW), now=NOW, held=held)


def test_what_others_wrote_is_shown_as_text() -> None:
    subscription = Subscription(state="disabled", state_reason="<script>alert(1)</script>")
    drawn = banner(subscription, now=NOW, held=lambda: 0).draw()
    assert "<script>" not in drawn
