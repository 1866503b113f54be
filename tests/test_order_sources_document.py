"""The worked examples in docs/order-sources.md do what the page says: each is run as a project of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "order-sources.md").read_text()
SETUP = """
import django
from django.conf import settings

OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20}

def database(name):
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": dict(OPTIONS)}

def set_up(app, source, databases, **more):
    settings.configure(
        SECRET_KEY="a key for this test alone", USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_q", "orderhooks", app],
        DATABASES={alias: database(name) for alias, name in databases.items()},
        Q_CLUSTER={"name": "shop", "orm": "default", "timeout": 60, "retry": 90, "save_limit": -1, "catch_up": False},
        ORDERHOOKS={"SOURCES": [f"{app}.order_sources.{source}"]},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        **more,
    )
    django.setup()
"""
OWN_MODEL = """
set_up("shop", "ShopOrders", {"default": ":memory:"})
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
CARTS = """
set_up("market", "MarketOrders", {"default": ":memory:"})
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from orderhooks import previews, source_trials
from orderhooks.testing import capture
from market.models import Charge, Sale, SaleLine

call_command("migrate", verbosity=0, run_syncdb=True)
call_command("check", databases=["default"], fail_level="WARNING")

def published():
    events = list(told.events)[len(seen):]
    seen.extend(events)
    return {event.topic: event.payload["order"] for event in events}

seen = []
with capture() as told:
    cart = Sale.objects.create(email="ada@example.com")
    line = SaleLine.objects.create(sale=cart, sku="TEA")
    line.amount = 2
    line.save()
    Charge.objects.create(sale=cart, amount="9.90")
    cart.total = "9.90"
    cart.save()
    Sale.objects.create().delete()
    assert published() == {}
    try:
        previews.find_order()
    except previews.PreviewError:
        pass
    else:
        raise AssertionError("The newest order is a cart.")
    cart.state, cart.placed_at = "paid", timezone.now()
    cart.save()
    found = published()
    assert list(found) == ["order.created", "order.paid", "order.payment_created"], found
    assert found["order.created"]["lines"] == [{"id": line.pk, "sku": "TEA", "amount": 2}], found
    line.amount = 3
    line.save()
    assert list(published()) == ["order.updated"]
    assert previews.find_order()[1] == cart
    assert source_trials.live_faults() == []
    placed_at, cart.placed_at = cart.placed_at, None
    cart.total = 0
    cart.save()
    found = published()
    assert list(found) == ["order.deleted"], found
    assert found["order.deleted"]["total"] == "9.90", found
    with transaction.atomic():
        Sale.objects.create(pk=77)
        Sale.objects.filter(pk=77).get().delete()
        new = Sale.objects.create()
        new.placed_at = placed_at
        new.save()
    assert list(published()) == ["order.created"]
    with transaction.atomic():
        new.placed_at = None
        new.save()
        new.placed_at, new.email = placed_at, "eve@example.com"
        new.save()
    assert list(published()) == ["order.updated"]
    new.delete()
    assert list(published()) == ["order.deleted"]
"""
TWO_DATABASES = """
import sys
folder, is_routed = sys.argv[1], sys.argv[2] == "routed"

class OrdersElsewhere:
    # The shop's database belongs to another program.
    def db_for_read(self, model, **hints):
        return "shop" if model._meta.app_label == "shop" else None

    db_for_write = db_for_read

routers = ["shop_databases.ShopRouter"] if is_routed else [OrdersElsewhere()]
aliases = ("default", "shop")
set_up("shop", "ShopOrders", {alias: f"{folder}/{alias}.sqlite3" for alias in aliases}, DATABASE_ROUTERS=routers)
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, transaction
from orderhooks.models import CaptureFailure, Event, Subscription
from orderhooks.publishing import publish_to
from shop.models import Purchase

for alias in aliases:
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
try:
    call_command("check", databases=["shop" if is_routed else "default"], fail_level="WARNING")
    assert is_routed
except SystemCheckError as error:
    assert not is_routed and "orderhooks.E060" in str(error), error
subscription = Subscription.create_with_secret(name="CRM", url="https://crm.example.com/", topics=["*"])[0]

def place(reference, around, fails=False):
    try:
        with transaction.atomic(using=around):
            Purchase.objects.create(reference=reference)
            if fails:
                raise ValueError
    except ValueError:
        pass

place("R-1", "shop")
place("R-2", "shop", fails=True)
place("R-3", "default", fails=True)
saved = list(Purchase.objects.order_by("reference").values_list("reference", flat=True))
assert saved == ["R-1", "R-3"], saved
events = list(Event.objects.order_by("sequence").values_list("topic", "order_number"))
if is_routed:
    assert events == [("order.created", "R-1"), ("order.created", "R-3")], events
    assert not CaptureFailure.objects.exists()
    tables = {alias: set(connections[alias].introspection.table_names()) for alias in aliases}
    assert "orderhooks_event" in tables["shop"] - tables["default"], tables
    assert "django_q_task" in tables["default"] - tables["shop"], tables
else:
    assert events == [], events
    [failure] = CaptureFailure.objects.all()
    assert failure.count == 1, failure.count  # that of R-3 was rolled back with `default`
    assert "'shop'" in failure.error and "'default'" in failure.error, failure.error
    publish_to(subscription, "order.paid", "R-1")
    assert list(Event.objects.values_list("topic", "order_number")) == [("order.paid", "R-1")]
"""
BLOCK = r"```python\n(# %s\n.*?)```"


def run(folder: Path, program: str, blocks: dict[str, str], *arguments: str) -> None:
    """Run a program with the page's blocks as modules. `blocks`: the first line of each, by the path of its file."""
    for path, name in blocks.items():
        block = re.search(BLOCK % re.escape(name), TEXT, re.DOTALL)
        assert block, f"The page no longer shows {name}."
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        if file.parent != folder:
            (file.parent / "__init__.py").write_text("")
        file.write_text(block[1])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-c", SETUP + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90)
    assert done.returncode == 0, done.stderr


SHOP = {"shop/models.py": "models.py", "shop/order_sources.py": "order_sources.py"}


def test_the_source_makes_events_of_orders_and_finds_them_by_their_numbers(tmp_path: Path) -> None:
    shown = re.search(r"as `data.order`.*?```json\n(.*?)```", TEXT, re.DOTALL)
    assert shown, "The page no longer shows what receivers get."
    run(tmp_path, OWN_MODEL.replace("{SHOWN}", repr(json.loads(shown[1]))), SHOP)


def test_a_cart_makes_no_events_until_it_is_placed(tmp_path: Path) -> None:
    run(tmp_path, CARTS, {name: name for name in ("market/models.py", "market/order_sources.py")})


@pytest.mark.parametrize("layout", ["routed", "apart"])
def test_orders_in_a_second_database_make_events_if_orderhooks_is_routed_to_it(layout: str, tmp_path: Path) -> None:
    run(tmp_path, TWO_DATABASES, {**SHOP, "shop_databases.py": "shop_databases.py"}, str(tmp_path), layout)
