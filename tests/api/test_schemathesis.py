"""The API does what its document says, whatever is sent to it: schemathesis against a live server.

In the suite a bounded run that is the same each time; `make schemathesis` looks longer and elsewhere.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from orderhooks.api.openapi.generator import document
from orderhooks.api.urls import documented
from tests.factories import (
    make_attempt,
    make_backfill,
    make_consumer,
    make_delivery,
    make_event,
    make_failed_event,
    make_fulfillment,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)

PROJECT = Path(__file__).resolve().parent.parent.parent
CONFIG = Path(__file__).with_name("schemathesis.toml")
PASSWORD = "a password for tests alone"
# `make schemathesis` sets it.
SECONDS = os.environ.get("SCHEMATHESIS_SECONDS")
LENGTH = (
    [f"--max-time={SECONDS}", "--max-examples=200"] if SECONDS else ["--max-examples=4", "--generation-deterministic"]
)


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up, as where there is no network: tests of endpoints end there."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if host not in ("127.0.0.1", "::1", "localhost", "", None):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def make_world(url: str, user: Any) -> dict[str, list[str]]:
    """Rows of each kind; what the hooks get to know about them."""
    subscriptions = [make_subscription(url=url) for _ in range(12)]
    deliveries = [
        make_delivery(state=state, subscription=subscription)
        for state, subscription in zip(("failed", "pending", "delivered", "failed"), subscriptions, strict=False)
    ]
    for delivery in deliveries:
        make_attempt(delivery)
    rows: dict[str, list[Any]] = {
        "orders": [make_order(number=str(number)) for number in range(1, 7)],
        "events": [make_failed_event(), make_failed_event(source="gone"), make_event()],
        "subscriptions": subscriptions,
        "deliveries": deliveries,
        "replays": [make_replay(subscription=subscriptions[0]) for _ in range(3)],
        "consumers": [make_consumer(user=user) for _ in range(3)],
        "backfills": [make_backfill(subscription=subscriptions[number]) for number in range(3)],
    }
    # Of each order in turn.
    fulfillments = [make_fulfillment(order, quantity=1) for order in rows["orders"]]
    return {kind: [row.public_id for row in found] for kind, found in rows.items()} | {
        "fulfillments": [str(fulfillment.pk) for fulfillment in fulfillments],
        "lines": [str(fulfillment.lines.get().line_id) for fulfillment in fulfillments],
        "topics": ["order.paid", "order.created"],
        "numbers": ["1", "2"],
        "urls": [url, "https://crm.example.com/webhooks"],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("no_names", "transactional_db")
def test_the_api_does_what_its_document_says(live_server, settings, tmp_path):
    # The rates are in the document too, but what lies behind them is to be reached.
    rates = {"test": "600/min", "replay": None, "redeliver": None, "rotate": None, "resume": None}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_RATES": rates}
    cache.clear()
    user = make_user(is_superuser=True)
    user.set_password(PASSWORD)
    user.save()
    address = live_server.url.replace("localhost", "127.0.0.1")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{address}/api/schema/"),
        *("--auth", f"{user.get_username()}:{PASSWORD}", "--no-color", "--continue-on-failure", "--checks=all"),
        *LENGTH,
    ]
    known = json.dumps(make_world(f"{address}/nowhere/", user))
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "ORDERHOOKS_KNOWN": known},
        capture_output=True,
        text=True,
        timeout=int(SECONDS or 0) + 900,
        check=False,
    )
    told = done.stdout + done.stderr
    print(told)
    assert done.returncode == 0, told
    # It has been let in, and has tried every operation.
    count = sum(len(item) for item in document(documented, server="/api")["paths"].values())
    assert f"{count} selected / {count} total" in told
    cache.clear()
