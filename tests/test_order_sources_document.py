"""The order source in docs/order-sources.md works for the models there: an order of another shape, with a UUID key."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROGRAM = """

from pathlib import Path
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a key for this test alone", USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_q", "orderhooks", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:",
                           "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20}}},
    Q_CLUSTER={"name": "shop", "orm": "default", "timeout": 60, "retry": 90, "save_limit": -1, "catch_up": False},
    ORDERHOOKS={"SOURCES": ["shop.order_sources.ShopOrders"]},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.core.management import call_command
from django.db import transaction
from orderhooks import source_trials, sources
from orderhooks.testing import capture, signed_request
from shop.models import Item, Purchase

call_command("migrate", verbosity=0, run_syncdb=True)
call_command("check", databases=["default"], fail_level="WARNING")
with capture() as told:
    with transaction.atomic():
        order = Purchase.objects.create(reference="R-7", total="9.90")
        Item.objects.create(purchase=order, sku="TEA", amount=2)
    order.state = "paid"
    order.save()
    assert sorted(told.topics) == ["order.created", "order.paid", "order.updated"], told.topics
    for event in told.events:
        assert event.order_number == "R-7", event.order_number
    [created] = [event for event in told.events if event.topic == "order.created"]
    [item] = order.items.all()
    assert created.payload["order"]["items"] == [{"id": item.pk, "sku": "TEA", "amount": 2}], created.payload
[source] = sources.configured().values()
assert source.find("R-7", store="", using="default").pk == order.pk
assert source.find("R-8", store="", using="default") is None
assert signed_request("whsec_" + "A" * 64).event["data"]["order"] == {SHOWN} | {"state": "paid"}
assert source.example() == {SHOWN}
assert source_trials.live_faults() == [], source_trials.live_faults()
"""
BLOCK = r"```python\n(# %s\n.*?)```"


def test_the_source_makes_events_of_orders_and_finds_them_by_their_numbers(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "order-sources.md").read_text()
    blocks = {name: re.search(BLOCK % re.escape(name), text, re.DOTALL) for name in ("models.py", "order_sources.py")}
    app = tmp_path / "shop"
    app.mkdir()
    (app / "__init__.py").write_text("")
    for name, block in blocks.items():
        assert block, f"The page no longer shows {name}."
        (app / name).write_text(block[1])
    shown = re.search(r"as `data.order`.*?```json\n(.*?)```", text, re.DOTALL)
    assert shown, "The page no longer shows what receivers get."
    program = PROGRAM.replace("{SHOWN}", repr(json.loads(shown[1])))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=90)
    assert done.returncode == 0, done.stderr
