"""Personal data: which values of an order's JSON are about a person, and what takes their place."""

from typing import Any

import pytest
from django.core.checks import run_checks

from orderhooks import json_schema
from orderhooks.sources import BuiltInOrders, Erased, FieldPayload, OrderSource, Related, path_fault, personal_data_of
from orderhooks.sources.personal_data import PersonalData, is_typical

TEXT = {"type": "string"}
WHOLE = {"type": "object", "properties": {"id": {"type": "integer"}, "city": TEXT, "floor": {"type": "integer"}}}


def erased(value: Any, *paths: str, schema: Any = None) -> Any:
    personal = PersonalData(frozenset(tuple(path.split(".")) for path in paths), schema or {})
    return personal.erase(value, Erased())


def both_of(source: OrderSource) -> tuple[PersonalData, PersonalData]:
    return personal_data_of(source)


def erased_by_keys(value: Any, schema: Any = None) -> Any:
    return PersonalData(None, schema or {}).erase(value, Erased())


@pytest.mark.parametrize(
    "key",
    [
        "email",
        "customer_email",
        "customerEmail",
        "e_mail",
        "phone",
        "shippingAddress",
        "billing_address",
        "note",
        "gift_message",
        "first_name",
        "lastName",
        "customer_name",
        "ip",
        "remote_ip",
        "zip",
        "postcode",
        "birthdate",
        "VATNumber",
        "remark",
        "customerRemarks",
    ],
)
def test_a_key_that_is_typical_of_personal_data(key):
    assert is_typical(key)


@pytest.mark.parametrize(
    "key", ["name", "id", "number", "total", "sku", "shipping", "shipping_method_name", "zipper", "script", "title"]
)
def test_a_key_that_is_not(key):
    assert not is_typical(key)


def test_a_name_is_personal_in_an_object_about_a_person():
    order = {"name": "Tea", "customer": {"id": 7, "name": "Ada"}, "buyer": {"group": {"title": "Countess"}}}

    assert erased_by_keys(order) == {
        "name": "Tea",
        "customer": {"id": 7, "name": ""},
        "buyer": {"group": {"title": ""}},
    }


def test_flags_and_keys_of_rows_are_not_personal():
    order = {"email_confirmed": True, "shipping_address": 7, "note_count": 3}

    assert erased_by_keys(order) == order


@pytest.mark.parametrize(
    ("value", "paths", "left"),
    [
        ({"email": "a", "total": 1}, ["email"], {"email": "", "total": 1}),
        ({"customer": {"email": "a", "id": 7}}, ["customer.email"], {"customer": {"email": "", "id": 7}}),
        (
            {"address": {"city": "a", "lines": ["b", 3]}},
            ["address"],
            {"address": {"city": "", "lines": ["", None]}},
        ),
        ({"lines": [{"text": "a", "sku": "b"}]}, ["lines.*.text"], {"lines": [{"text": "", "sku": "b"}]}),
        ({"lines": [{"text": "a", "sku": "b"}]}, ["lines.text"], {"lines": [{"text": "", "sku": "b"}]}),
        ({"tags": ["a", "b"]}, ["tags.*"], {"tags": ["", ""]}),
        ({"total": 1}, ["customer.email"], {"total": 1}),
        ({"customer": None}, ["customer.email"], {"customer": None}),
        ({"customer": "a"}, ["customer.email"], {"customer": "a"}),
    ],
)
def test_a_path_leads_to_what_is_erased(value, paths, left):
    assert erased(value, *paths) == left


@pytest.mark.parametrize(
    ("schema", "value", "left"),
    [
        ({"type": ["string", "null"]}, "a", None),
        ({"type": "string"}, "a", ""),
        ({"type": "integer"}, 7, 0),
        ({"type": "boolean"}, True, False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "a", None),
        ({"type": "string", "format": "email"}, "a", ""),
    ],
)
def test_the_replacement_is_the_first_that_the_schema_allows(schema, value, left):
    assert erased({"it": value}, "it", schema={"type": "object", "properties": {"it": schema}}) == {"it": left}


@pytest.mark.parametrize("schema", [{}, {"properties": {"it": {}}}, {"properties": {"it": {"type": "object"}}}])
@pytest.mark.parametrize(
    ("value", "left"),
    [("a", ""), (7, None), (True, None), (["a", 7], ["", None]), ({"to": {"city": "a"}}, {"to": {"city": ""}})],
)
def test_a_value_of_another_version_than_the_schema_keeps_its_type(schema, value, left):
    assert erased({"it": value}, "it", schema=schema) == {"it": left}


def test_a_text_under_a_typical_key_goes_though_the_schema_has_an_object_there():
    assert erased_by_keys({"address": "Ockham"}, {"properties": {"address": WHOLE}}) == {"address": ""}


def test_the_id_of_a_row_stays_only_if_the_schema_says_that_it_is_one():
    address = {"id": 7, "city": "Oslo", "floor": 3}

    known = erased({"address": address}, "address", schema={"type": "object", "properties": {"address": WHOLE}})
    assert known == {"address": {"id": 7, "city": "", "floor": 0}}
    assert erased({"address": {"id": "DE-1"}}, "address") == {"address": {"id": ""}}


def test_what_was_erased_is_listed_with_its_places():
    found = Erased()
    personal = PersonalData(frozenset({("customer",), ("lines", "*", "text")}), {})
    personal.erase({"customer": {"email": "a@b", "phone": None}, "lines": [{"text": "b"}, {"text": "c"}]}, found)

    assert found == Erased(values={"a@b", "b", "c"}, paths={"customer", "lines.*.text"})


def test_erasing_twice_is_erasing_once():
    schema = BuiltInOrders().schema()
    of_payload, _of_changes = both_of(BuiltInOrders())
    once = of_payload.erase(BuiltInOrders().example(), Erased())
    found = Erased()

    assert of_payload.erase(once, found) == once
    assert found == Erased()
    assert list(json_schema.misfits(once, schema)) == []


class Engraved(OrderSource):
    """Payloads show the rows under another name than `changes`, and not the field `state`."""

    name = "engraved"
    model = "shapes.Purchase"
    watched = ("total", "state")
    related = (Related("articles", "shapes.PurchaseLine", "order", ("sku",)),)
    payload_fields = FieldPayload("total", lines=("sku",))
    personal = ("lines.*.sku",)


def test_rows_are_erased_in_changes_under_their_key():
    of_payload, of_changes = both_of(Engraved())

    assert of_payload.erase({"lines": [{"sku": "a"}]}, Erased()) == {"lines": [{"sku": ""}]}
    assert of_changes.erase({"articles": [{"id": 1, "sku": "a"}]}, Erased()) == {"articles": [{"id": 1, "sku": ""}]}


def test_a_watched_field_that_payloads_do_not_show_is_judged_by_its_name():
    class Watching(BuiltInOrders):
        personal = ("customer",)

    _of_payload, of_changes = both_of(Watching())
    side = {"customer_email": "a@b", "note": "b", "total": "1"}

    # Payloads show `note`, and `personal` does not name it.
    assert of_changes.erase(side, Erased()) == {"customer_email": "", "note": "b", "total": "1"}


@pytest.mark.parametrize("path", [*BuiltInOrders.personal, "metadata.gift.text", "lines.name", "lines.*.name"])
def test_a_path_that_there_is(path):
    source: OrderSource = BuiltInOrders()
    assert path_fault(source, path) == ("", [])


class Misspelt(BuiltInOrders):
    personal = ("customer.emial",)


class Unblankable(BuiltInOrders):
    personal = ("status",)


class OneText(BuiltInOrders):
    personal = "note"  # type: ignore[assignment]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("source", "text", "hint"),
    [
        (Misspelt, "`personal` names 'customer.emial'", "Did you mean 'customer.email'?"),
        (Unblankable, "allows neither null nor a blank value", "Let the schema allow null there"),
        (OneText, "`personal` is the text 'note'", 'Write a tuple: personal = ("note",).'),
    ],
)
def test_a_path_that_can_not_be_erased_is_an_error_at_start(settings, source, text, hint):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.{source.__name__}"]}

    [message] = [one for one in run_checks() if str(one.id).startswith("orderhooks.E0")]

    assert text in message.msg
    assert hint in str(message.hint)


def to_first_version(body: dict[str, Any]) -> dict[str, Any]:
    """A conversion for the setting API_VERSIONS: the first version had the customer's address at the top."""
    body["data"]["order"]["email"] = body["data"]["order"].pop("customer")["email"]
    return body


class OfTwoVersions(BuiltInOrders):
    personal = (*BuiltInOrders.personal, "email")


@pytest.mark.django_db
@pytest.mark.parametrize("is_registered", [True, False])
def test_a_path_may_be_of_an_older_version_of_the_body(settings, is_registered):
    versions = {"2027-01-15": {"to_previous": f"{__name__}.to_first_version", "description": "The customer."}}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.OfTwoVersions"]}
    if is_registered:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": versions}

    assert ("orderhooks.E047" in [one.id for one in run_checks()]) is not is_registered
