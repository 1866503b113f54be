"""An order is set back to what its transaction committed, and the event says which field can't be."""

import uuid
from typing import Any

import pytest

from orderhooks.models import Change
from orderhooks.outbox.rewinding import UnrestorableError, rewind
from tests.shapes import sources
from tests.shapes.models import UuidOrder

LATER = [Change(kind=Change.Kind.UPDATED, before={"state": "paid"}, after={"state": "sent"})]


def refuse(_field: Any, _value: Any) -> Any:
    raise ValueError("not a state")


@pytest.mark.parametrize("to_python", [refuse, lambda _field, value: f"<{value}>"], ids=["raises", "makes another"])
def test_a_field_that_does_not_understand_its_own_json_is_named(
    to_python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = UuidOrder(state="sent")
    field = UuidOrder._meta.get_field("state")
    # What the order has now is understood.
    monkeypatch.setattr(
        type(field), "to_python", lambda self, value: value if value == "sent" else to_python(self, value)
    )
    with pytest.raises(UnrestorableError, match="'state' can't be set back"):
        rewind(sources.UuidOrder(), order, LATER, using="default")


@pytest.mark.django_db
def test_a_field_that_is_not_loaded_is_set_back_although_its_row_is_gone() -> None:
    gone = UuidOrder.from_db("default", ["id"], [uuid.uuid4()])
    assert rewind(sources.UuidOrder(), gone, LATER, using="default").state == "paid"


def test_a_field_is_set_back() -> None:
    order = rewind(sources.UuidOrder(), UuidOrder(state="sent"), LATER, using="default")
    assert order.state == "paid"
