"""The guide “Change the payload”: its functions, settings and test work as they stand there."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orderhooks import catalogue, json_schema, selection, versions
from orderhooks.expressions import ExpressionError

GUIDE = Path(__file__).parent.parent / "docs" / "how-to" / "change-the-payload.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def block_with(text: str) -> str:
    return next(block for block in BLOCKS if text in block)


@pytest.fixture
def shop(monkeypatch) -> dict[str, Any]:
    """The module that the guide calls shop.webhooks."""
    module = ModuleType("shop.webhooks")
    exec(block_with("class Orders(OrderSource)"), module.__dict__)
    exec(block_with("def to_2026_11(body)"), module.__dict__)
    of_groups = {"name": "groups", "model": "auth.Group", "watched": ("name",)}
    module.Orders = type("Orders", (module.Orders,), of_groups)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.webhooks", module)
    return module.__dict__


@pytest.mark.parametrize("settings_block", [block for block in BLOCKS if "API_VERSIONS" in block])
def test_its_settings_are_valid_and_convert_a_body(settings, shop, settings_block: str) -> None:
    given: dict[str, Any] = {}
    exec(settings_block, given)
    assert versions.fault_of(given["ORDERHOOKS"]["API_VERSIONS"]) == ""
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **given["ORDERHOOKS"]}
    body = {"id": "evt_1", "type": "order.paid", "api_version": "2027-01-15"}
    made = versions.convert({**body, "data": {"order": {"number": "1", "customer_note": "x"}}}, "2026-11-01")
    assert made == {**body, "api_version": "2026-11-01", "data": {"order": {"number": "1", "note": "x"}}}


def test_its_source_has_examples_in_each_version(settings, shop) -> None:
    given: dict[str, Any] = {}
    exec(block_with('"description": "`note` is called `customer_note`.",\n'), given)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **given["ORDERHOOKS"], "SOURCES": ["shop.webhooks.Orders"]}
    shown = {name: catalogue.entry("order.updated", version=name).example["data"] for name in versions.registered()}
    assert shown["2026-11-01"]["order"] == {"number": "1001", "note": "Ring twice."}
    assert shown["2027-01-15"]["order"] == {"number": "1001", "customer_note": "Ring twice."}
    selection.check_filter("data.order.note == 'x'", ["order.updated"], "2026-11-01")
    with pytest.raises(ExpressionError, match="no field 'customer_note'"):
        selection.check_filter("data.order.customer_note == 'x'", ["order.updated"], "2026-11-01")
    of_class = shop["Orders"]()
    order = type("Order", (), {"number": "1", "note": "x"})()
    assert not list(json_schema.misfits(of_class.payload(order), of_class.schema()))
    assert of_class.payload(order).keys() == of_class.example().keys()


def test_its_test_compares_with_the_files(settings, tmp_path: Path) -> None:
    test: dict[str, Any] = {"__file__": str(tmp_path / "test_versions.py")}
    exec(block_with("read_bytes"), test)
    compare = test["test_receivers_get_the_bytes_that_they_know"]
    (tmp_path / "golden").mkdir()
    file = tmp_path / "golden" / "2026-11-01.json"
    file.write_bytes(b"{}")
    with pytest.raises(AssertionError):
        compare("2026-11-01")
    file.write_bytes(test["payloads"].encode(test["catalogue"].entry("order.paid").example))
    compare("2026-11-01")
