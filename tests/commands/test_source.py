"""`orderhooks_source` prints an order source that works as it is."""

import ast
import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management.base import CommandError
from django.db import models
from django.test.utils import isolate_apps

from orderhooks import signal_handlers, source_trials
from orderhooks.management import source_guesses, source_skeleton
from orderhooks.models import Event
from orderhooks.sources import OrderSource
from tests.commands.calls import called
from tests.factories import make_subscription
from tests.shapes import models as shapes

pytestmark = pytest.mark.django_db(transaction=True)
_numbers = itertools.count()


@pytest.fixture
def configure(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a printed source into a module, and name it in the settings as its docstring says."""
    monkeypatch.syspath_prepend(tmp_path)

    def save(text: str) -> OrderSource:
        module = f"printed_source_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(text)
        [cls] = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{module}.{cls}"]}
        importlib.invalidate_caches()
        signal_handlers.connect()
        make_subscription()
        source = getattr(importlib.import_module(module), cls)()
        assert isinstance(source, OrderSource)
        monkeypatch.delitem(sys.modules, module)
        return source

    return save


def faults() -> list[str]:
    found = [str(one) for one in run_checks() if (one.id or "").startswith("orderhooks")]
    return found + [fault.text for fault in source_trials.live_faults()]


def last() -> Any:
    event = Event.objects.latest("sequence")
    assert event.error == ""
    return event


PRINTED = '''"""Describes the orders in shapes.Purchase.

Save it as tests.shapes.order_sources, and name it in the settings:
ORDERHOOKS = {"SOURCES": ["tests.shapes.order_sources.PurchaseSource"]}
"""

from orderhooks.sources import FieldPayload, Lines, OrderSource, Related


class PurchaseSource(OrderSource):
    name = "purchase"  # marks its events; must never change
    model = "shapes.Purchase"
    # The fields whose changes are events.
    watched = ("state", "total")
    # The topics of new values, beside order.updated: fill them in, or remove them.
    # transitions = {
    #     "state": {
    #         # "paid": "order.paid",
    #     },
    # }
    # Their changes are changes of the order.
    lines = Lines("shapes.PurchaseLine", "order", ("sku",))
    # Other rows whose changes are changes of the order.
    related = (
        Related("payments", "shapes.Payment", "order", ("amount",)),
        Related(
            "billing",
            "shapes.Address",
            "order.billing",
            ("city", "unwatched", "log"),
        ),
        Related(
            "delivery",
            "shapes.Address",
            "order.delivery",
            ("city", "unwatched", "log"),
        ),
    )
    # What receivers get, beside the `id` of the order and of each row.
    payload_fields = FieldPayload(
        "state",
        "total",
        lines=("sku",),
        payments=("amount",),
        billing=("city", "unwatched", "log"),
        delivery=("city", "unwatched", "log"),
    )
'''


def test_the_source_of_an_order_with_lines_payments_and_addresses(configure: Any) -> None:
    text = called("orderhooks_source", "shapes.Purchase")
    assert text == PRINTED
    configure(text)
    assert faults() == []
    order: Any = shapes.Purchase.objects.create(total=5, delivery=shapes.Address.objects.create(city="Oslo"))
    assert last().topic == "order.created"
    shapes.PurchaseLine.objects.create(order=order, sku="TEA")
    payment = shapes.Payment.objects.create(order=order, amount=5)
    assert last().changes == {"payments": [[], [{"id": str(payment.pk), "amount": "5.00"}]]}
    order.delivery.city = "Bergen"
    order.delivery.save()
    assert last().payload["order"] == {
        "id": order.pk,
        "state": "open",
        "total": "5.00",
        "lines": [{"id": order.lines.get().pk, "sku": "TEA"}],
        "payments": [{"id": str(payment.pk), "amount": "5.00"}],
        "billing": None,
        "delivery": {"id": order.delivery_id, "city": "Bergen", "unwatched": "", "log": {}},
    }
    assert faults() == []


def test_people_find_an_order_by_its_unique_text(configure: Any) -> None:
    source = configure(called("orderhooks_source", "shapes.NumberedOrder"))
    order = shapes.NumberedOrder.objects.create(number="N-1")
    shapes.NumberedLine.objects.create(order=order, sku="TEA")
    assert (last().topic, last().order_number, last().payload["order"]["lines"][0]["sku"]) == (
        "order.updated",
        "N-1",
        "TEA",
    )
    assert source.find("N-1", store="", using="default") == order
    assert source.find("N-2", store="", using="default") is None
    assert faults() == []


def test_a_parent_model_and_the_rows_that_point_to_it(configure: Any) -> None:
    source = configure(called("orderhooks_source", "shapes.InvoiceOrder"))
    assert set(source.watched) == {"state", "reference"}
    order = shapes.InvoiceOrder.objects.create(reference="R-1")
    shapes.DocumentLine.objects.create(document_id=order.pk, sku="TEA")
    assert [row["sku"] for row in last().payload["order"]["lines"]] == ["TEA"]
    assert faults() == []


TRANSITIONS = """    # transitions = {
    #     "state": {
    #         # "new":
    #         "paid": "order.paid",
    #     },
    # }
"""


def test_values_of_a_status_get_the_topics_of_their_names_when_they_are_uncommented(configure: Any) -> None:
    text = called("orderhooks_source", "shapes.TypedOrder")
    assert TRANSITIONS in text
    assert 'Related("slip", "shapes.Receipt", "order", ("number",))' in text
    for line in TRANSITIONS.splitlines():
        text = text.replace(line, line.replace("# ", "", 1))
    configure(text)
    assert faults() == []
    order = shapes.TypedOrder.objects.create()
    order.state = "paid"
    order.save()
    assert set(Event.objects.values_list("topic", flat=True)) == {"order.created", "order.updated", "order.paid"}


@pytest.mark.parametrize(
    "model",
    [
        model
        for model in apps.get_app_config("shapes").get_models()
        # The key of a LongOrder is too long to be stored, which the checks say. A SchemaOrder has no table.
        if hasattr(model, "state") and model not in (shapes.LongOrder, shapes.SchemaOrder)
    ],
)
def test_an_order_of_any_shape(configure: Any, model: Any) -> None:
    source = configure(called("orderhooks_source", model._meta.label))
    assert faults() == []
    keys: dict[Any, dict[str, Any]] = {
        shapes.CompositeOrder: {"tenant": "t", "number": 1},
        shapes.TextOrder: {"code": "c"},
    }
    order = model._base_manager.create(state="open", **keys.get(model, {}))
    order = source.fetch(last().order_pk, using="default")
    assert (last().topic, last().payload["order"]["state"]) == ("order.created", "open")
    order.state = "new"
    order.save()
    assert (last().topic, last().changes) == ("order.updated", {"state": ["open", "new"]})
    assert source.find(last().order_number, store="", using="default") == order
    assert faults() == []


@isolate_apps("tests.shapes")
def test_what_is_guessed_and_what_is_not() -> None:
    class Sale(models.Model):
        secret_number = models.CharField(max_length=20, unique=True)
        slug = models.CharField(max_length=20, unique=True)
        order_number = models.CharField(max_length=20, unique=True)
        progress = models.IntegerField(choices=[(1, "Open"), (2, "Sent"), (3, "Cancelled"), (4, "Paid")], default=4)
        shipments = models.JSONField(default=dict)
        country = models.CharField(max_length=2, choices=[("gb", "Britain")])
        export = models.CharField(max_length=2)
        changed_at = models.DateTimeField(auto_now=True)
        parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="parts")

        class Meta:
            app_label = "shapes"

    class Row(models.Model):
        sale = models.ForeignKey(Sale, models.CASCADE)
        text = models.CharField(max_length=20)

        class Meta:
            app_label = "shapes"
            abstract = True

    class Shipment(Row):
        pass

    class SaleItem(Row):
        class Meta:
            app_label = "shapes"

    class SaleLog(Row):
        class Meta:
            app_label = "shapes"

    class Export(Row):
        sale = models.ForeignKey(Sale, models.CASCADE, related_name="import")

        class Meta:
            app_label = "shapes"

    found = source_guesses.guess(Sale)
    assert found.number == "order_number"
    assert found.watched == ("slug", "order_number", "progress", "shipments", "country", "export", "parent")
    assert found.shown == ("changed_at",)
    assert found.transitions == {"progress": {1: "", 2: "order.fulfilled", 3: "order.cancelled", 4: ""}}
    assert found.lines
    assert (found.lines.model, found.lines.path, found.lines.watched) == (SaleItem, "sale", ("text",))
    assert [(one.key, one.model) for one in found.related] == [("shipments_rows", Shipment), ("import_rows", Export)]
    assert found.left_out == ("salelog_set",)


def test_a_model_that_is_not_there_and_one_that_has_a_source_already(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match=r"There is no model 'shapes.Purchas'\. Did you mean shapes.Purchase\?"):
        called("orderhooks_source", "shapes.Purchas")
    with pytest.raises(CommandError, match=r"Name a model of an installed app"):
        called("orderhooks_source", "nonsense")
    assert called("orderhooks_source", "orderhooks.Order").startswith(
        "orderhooks.Order is watched by the order source 'orderhooks' already."
    )


@isolate_apps("tests.shapes")
def test_a_model_that_is_called_order_has_a_class_that_hides_no_import() -> None:
    class Order(models.Model):
        class Meta:
            app_label = "shapes"

    text = source_skeleton.skeleton(Order)
    assert "class ShapesOrders(OrderSource):" in text
    assert 'order_sources.ShapesOrders"]}' in text
