"""Values in a source's `transitions` that their field never has: a warning says so, with what was meant."""

from typing import Any

import pytest

from orderhooks.models import Order
from orderhooks.source_trials import running, static
from orderhooks.sources import BuiltInOrders, FieldPayload, OrderSource


class LogEntries(OrderSource):
    name = "entries"
    model = "admin.LogEntry"
    payload_fields = FieldPayload("id")


class Users(OrderSource):
    name = "users"
    model = "auth.User"
    payload_fields = FieldPayload("username")


def faults_of(cls: type[OrderSource], transitions: dict[str, Any]) -> list[tuple[str, str, str]]:
    source = cls()
    source.transitions = transitions
    return [(one.check_id, one.text, one.remedy) for one in running.run("shop.Orders", source, static.STATIC)]


@pytest.mark.parametrize(
    ("cls", "field", "value", "remedy"),
    [
        (BuiltInOrders, "payment_status", "payed", "Did you mean 'paid'?"),
        (BuiltInOrders, "payment_status", "x", "Name some of its choices: pending, "),
        (BuiltInOrders, "total", 5, "Write '5.0000'."),
        (Users, "is_active", "True", "Write True."),
        (Users, "is_active", "yes", "as it is stored"),
        (Users, "id", "7", "Write 7."),
        (LogEntries, "user", "7", "Write 7."),
        (LogEntries, "action_flag", 77, "Name some of its choices: 1, 2, 3."),
        (LogEntries, "action_flag", None, "never NULL"),
        (Users, "username", None, "never NULL"),
        (Users, "username", "x" * 151, "at most 150 characters"),
    ],
)
def test_a_value_that_never_comes_is_a_warning(cls: type[OrderSource], field: str, value: Any, remedy: str) -> None:
    [(check_id, text, hint)] = faults_of(cls, {field: {value: "order.paid"}})
    assert check_id == "W045"
    assert f"{value!r} of {field!r}, which never has that value" in text
    assert remedy in hint


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (BuiltInOrders, "payment_status", Order.PaymentStatus.PAID),
        (BuiltInOrders, "total", "5.0000"),
        (Users, "is_active", False),
        (Users, "is_active", 0),
        (Users, "username", "ada"),
        (Users, "last_login", None),
        (LogEntries, "user", 7),
        (LogEntries, "action_flag", 2),
        (Users, "username", "x" * 150),
    ],
)
def test_a_value_that_may_come_is_none(cls: type[OrderSource], field: str, value: Any) -> None:
    assert faults_of(cls, {field: {value: "order.paid"}}) == []


def test_each_value_that_never_comes_has_its_warning() -> None:
    found = faults_of(LogEntries, {"action_flag": {11: "order.paid", None: "order.paid", 12: "order.fulfilled"}})
    assert [check_id for check_id, _text, _remedy in found] == ["W045"] * 3
