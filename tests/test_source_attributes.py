"""Whatever is written as an attribute of an order source: the project starts, and a check says what to write."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import checks
from django.db.models import Q

from orderhooks import catalogue, signal_handlers, source_trials, sources
from orderhooks.source_trials import attributes, running, static
from orderhooks.sources import FieldPayload, Lines, OrderSource, Related
from tests.shapes import models as shapes

# Django 6.1 queries the database for its part of the checks.
pytestmark = pytest.mark.django_db


class Shop(OrderSource):
    name = "shop"
    model = "shapes.Purchase"
    watched = ("state", "total")
    payload_fields = FieldPayload("state", "total")


# A source of the setting SOURCES, whose attributes a test sets.
Tried: type[OrderSource] = Shop
PATH = f"{__name__}.Tried"
LINES = Lines("shapes.PurchaseLine", "order", ("sku",))
PAYMENTS = Related("payments", "shapes.Payment", "order", ("amount",))
WRONG: dict[str, Any] = {
    "None": None,
    "a text": "order.paid",
    "a number": 7,
    "a class": shapes.Purchase,
    "a list of numbers": [7],
    "a dict of a number": {"state": 7},
}
# The attributes whose value may be one of these, without a fault.
RIGHT = {
    ("name", "a text"),
    ("only", "None"),
    ("lines", "None"),
    ("payload_fields", "None"),
    ("personal", "None"),
}


@pytest.fixture(autouse=True)
def _sources(settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    settings.ORDERHOOKS = {**own, "SOURCES": [PATH]}
    yield
    settings.ORDERHOOKS = own
    sources.registry._registry.cache_clear()
    sources.registry._watched_models.cache_clear()


def start(monkeypatch: Any, **values: Any) -> list[tuple[str, str, str]]:
    """What a project does at start, and in `check`: the ids, texts and hints of the messages about sources."""
    global Tried
    monkeypatch.setitem(globals(), "Tried", type("Tried", (Shop,), {**values, "__module__": __name__}))
    sources.registry._registry.cache_clear()
    sources.registry._watched_models.cache_clear()
    source_trials.log_faults()
    signal_handlers.connect()
    catalogue.offered()
    return [
        (str(one.id).partition(".")[2], one.msg, one.hint or "")
        for one in checks.run_checks(databases=["default"])
        if PATH in one.msg
    ]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", list(OrderSource.__annotations__))
def test_an_attribute_of_a_wrong_type_is_a_message_of_the_checks(monkeypatch: Any, name: str, value: str) -> None:
    found = start(monkeypatch, **{name: WRONG[value]})
    if (name, value) in RIGHT:
        assert found == []
        return
    [(check_id, text, hint), *_others] = found
    assert check_id.startswith("E04")
    assert name in text
    assert "raises" not in text
    assert hint


@pytest.mark.parametrize("name", list(OrderSource.__annotations__))
def test_so_is_one_whose_reading_raises(monkeypatch: Any, name: str) -> None:
    def fail(_self: Any) -> Any:
        raise RuntimeError("no shop")

    [(check_id, text, hint), *_others] = start(monkeypatch, **{name: property(fail)})
    assert check_id.startswith("E04")
    assert "raises RuntimeError: no shop." in text
    assert hint


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["key", "model", "path", "watched", "topics"])
def test_so_is_one_of_related_rows(monkeypatch: Any, name: str, value: str) -> None:
    given = {"key": "payments", "model": "shapes.Payment", "path": "order", "watched": ("amount",), name: WRONG[value]}
    [(check_id, text, hint), *_others] = start(monkeypatch, related=(Related(**given),))
    assert check_id.startswith("E04")
    assert "raises" not in text
    assert hint


@pytest.mark.parametrize(
    ("values", "check_id", "words", "remedy"),
    [
        ({"related": PAYMENTS}, "E041", "`related` is a Related, not a tuple", "Add a comma at the end: related = ("),
        ({"related": (LINES, "payments")}, "E041", "`related` holds 'payments'", "a tuple of Related"),
        ({"related": None}, "E041", "`related` is None", "a tuple of Related"),
        ({"lines": ("shapes.PurchaseLine", "order")}, "E041", "`lines` is ('shapes.PurchaseLine'", "lines = Lines("),
        ({"lines": Lines}, "E041", "`lines` is the class Lines", "lines = Lines("),
        ({"model": shapes.Purchase}, "E041", "`model` is the class Purchase", "model = 'shapes.Purchase'"),
        (
            {"related": (Related("payments", shapes.Payment, "order", ("amount",)),)},  # type: ignore[arg-type]
            "E041",
            "`payments.model` is the class Payment",
            "payments.model = 'shapes.Payment'",
        ),
        (
            {"transitions": {"state": "order.paid"}},
            "E042",
            "`transitions` has 'order.paid' for the field 'state'",
            "{'state': {'paid': 'order.paid'}}",
        ),
        (
            {"transitions": {"state": {"paid": ["order.paid"]}}},
            "E042",
            "`transitions` has ['order.paid'] as the topic of 'paid'",
            "one topic as a text",
        ),
        (
            {"computed_topics": "order.paid"},
            "E045",
            "`computed_topics` is the text",
            'computed_topics = ("order.paid",)',
        ),
        (
            {"related": (Related("payments", "shapes.Payment", "order", ("amount",), topics="order.paid"),)},  # type: ignore[arg-type]
            "E045",
            "`payments.topics` is the text 'order.paid'",
            "topics = {'created': 'order.paid'}",
        ),
        (
            {"related": (Related("payments", "shapes.Payment", "order", ["amount"]),)},  # type: ignore[arg-type]
            "E042",
            "`payments.watched` is ['amount']",
            "a tuple of texts",
        ),
        ({"only": {"state": "cart"}}, "E042", "`only` is {'state': 'cart'}", "a Q of columns"),
        ({"atomic_saves": "False"}, "E042", "`atomic_saves` is 'False'", "True or False"),
    ],
)
def test_a_slip_has_one_message_with_what_to_write(
    monkeypatch: Any, values: dict[str, Any], check_id: str, words: str, remedy: str
) -> None:
    [(found, text, hint)] = start(monkeypatch, **values)
    assert found == check_id
    assert words in text
    assert remedy in hint


def test_a_many_to_many_is_not_taken_for_a_foreign_key() -> None:
    class Users(OrderSource):
        name = "users"
        model = "auth.User"
        watched = ("username",)
        related = (Related("groups", "auth.Group", "user", ("name",)),)

    class Groups(Users):
        model = "auth.Group"
        watched = ("name",)
        related = (Related("users", "auth.User", "groups", ("username",)),)

    for source, name in ((Users(), "user"), (Groups(), "groups")):
        [fault] = running.run("shop.Orders", source, static.STATIC)
        assert (fault.check_id, "a many-to-many, not a foreign key" in fault.text) == ("E041", True), fault
        assert repr(name) in fault.text
        assert "auth.User_groups" in fault.remedy


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("transition", {"state": {"paid": "order.paid"}}, "transitions"),
        ("payload_field", FieldPayload("state"), "payload_fields"),
        ("watch", ("state",), "watched"),
        ("line", LINES, "lines"),
        ("computed_topic", ("order.paid",), "computed_topics"),
        ("numbr", lambda self, order: "7", "number"),
        ("compute_topic", lambda self, order, changes: (), "compute_topics"),
    ],
)
def test_a_misspelt_attribute_is_a_warning(monkeypatch: Any, caplog: Any, name: str, value: Any, near: str) -> None:
    with caplog.at_level(logging.WARNING, logger="orderhooks"):
        [(check_id, text, hint)] = start(monkeypatch, **{name: value})
    assert check_id == "W044"
    assert f"has a fault. `{name}` is not an attribute of OrderSource." in text
    assert f"Did you mean `{near}`?" in hint
    assert [one.levelname for one in caplog.records] == ["WARNING"]


def test_names_of_the_stores_own_are_no_misspelt_attributes(monkeypatch: Any) -> None:
    def helper(self: Any, order: Any) -> str:
        return ""

    own: dict[str, Any] = {
        "lines_of": helper,
        "payload_of": helper,
        "number_of": helper,
        "store_of": helper,
        "orders_of": helper,
        "state_names": {"paid": "Paid"},
        "payment_fields": ("amount",),
        "currency": "EUR",
        "_watch": ("state",),
    }
    assert start(monkeypatch, **own) == []


def test_a_misspelt_attribute_hides_no_other_fault(monkeypatch: Any) -> None:
    found = start(monkeypatch, transition={}, watched=("stat",))
    assert [check_id for check_id, _text, _hint in found] == ["E042", "W044"]


def test_what_may_be_written_has_no_fault(monkeypatch: Any) -> None:
    assert start(monkeypatch, watched=["state"], related=[PAYMENTS], lines=LINES, only=~Q(state="cart")) == []


def test_each_attribute_is_tried() -> None:
    tried = {*attributes.JUDGES, "name", "capture", "topics", "payload_fields"}
    assert tried == set(OrderSource.__annotations__)


class Parents(OrderSource):
    name = "parents"
    model = "shapes.Document"
    watched = ("state",)


class Children(Parents):
    name = "children"
    model = "shapes.InvoiceOrder"


class Plain(Parents):
    name = "plain"
    model = "shapes.PlainOrder"


class Proxies(Parents):
    name = "proxies"
    model = "shapes.ProxyOrder"


@pytest.mark.parametrize("pair", [("Parents", "Children"), ("Children", "Parents"), ("Plain", "Proxies")])
def test_two_sources_of_one_table_are_refused(settings: Any, pair: tuple[str, str]) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.{name}" for name in pair]}
    [fault] = source_trials.static_faults()
    assert (fault.source, fault.check_id) == (f"{__name__}.{pair[1]}", "E041")
    assert f"are already watched by '{__name__}.{pair[0]}'" in fault.text


def test_sources_of_two_tables_are_not(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.{name}" for name in ("Children", "Plain")]}
    assert source_trials.static_faults() == []


def test_triggers_refuse_a_quoted_table_name() -> None:
    class Quoted(OrderSource):
        name = "quoted"
        model = "shapes.SchemaOrder"
        watched = ("state",)
        capture = "triggers"

    [fault] = running.run("shop.Orders", Quoted(), static.STATIC)
    assert fault.check_id == "E049"
    assert "has the quoted table name" in fault.text
    assert "signals capture its saves" in fault.remedy
