"""Events from before the version of a subscription: there is no way up."""

import json

import pytest

from orderhooks import matching, shaping
from orderhooks.shaping import ShapingError
from tests import versioned
from tests.factories import make_event, make_subscription
from tests.versioned import FIRST, NESTED

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def three_versions(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}


def test_a_projection_of_a_field_that_came_later_holds_the_delivery() -> None:
    event = make_event(topic="order.paid", payload={"order": {"note": "x"}, "changes": {}}, api_version=FIRST)
    with pytest.raises(ShapingError, match="there is no field 'customer_note'") as raised:
        shaping.shape(event, make_subscription(api_version=NESTED, projection="{n: data.order.customer_note}"))
    assert raised.value.kind == "version"
    assert f"was made in the version {FIRST}" in str(raised.value)


@pytest.mark.parametrize(
    "projection", ["{n: data.order.number}", "{n: (type == 'order.updated' && 'x') || data.order.number}"]
)
def test_a_projection_that_fits_both_versions_goes_on(projection: str) -> None:
    event = make_event(topic="order.paid", payload={"order": {"number": "7"}, "changes": {}}, api_version=FIRST)
    shaped = shaping.shape(event, make_subscription(api_version=NESTED, projection=projection))
    assert json.loads(shaped.body)["data"] == {"n": "7"}


@pytest.mark.parametrize(
    ("filter", "kind"),
    [
        ("data.order.customer_note == 'x'", "version"),
        ("data.order.number == '7'", ""),
        ("data.order.number == '8'", ""),
    ],
)
def test_a_filter_on_a_field_that_came_later_holds_the_event(filter: str, kind: str) -> None:
    event = make_event(topic="order.paid", payload={"order": {"number": "7"}, "changes": {}}, api_version=FIRST)
    verdict = matching.Matcher().select(event, make_subscription(api_version=NESTED, filter=filter))
    assert bool(verdict.error) is bool(kind)
    if kind:
        assert verdict.kind == kind
        assert f"was made in version {FIRST}" in verdict.error
        assert "there is no field 'customer_note'" in verdict.error
