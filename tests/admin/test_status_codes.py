"""The log by a status code as it is typed."""

import pytest

from tests.admin.visits import page
from tests.factories import make_delivery

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("typed", "found"), [("404", [404]), ("410", [410]), ("4xx", [404, 410]), ("200", [200]), ("40", []), ("٤٠٤", [])]
)
def test_deliveries_are_found_by_the_status_code_as_it_is_typed(operator, typed: str, found: list[int]) -> None:
    for code in (404, 410, 503):
        make_delivery(state="failed", attempts_made=1, last_status_code=code, last_error="status")
    make_delivery(state="delivered", attempts_made=1, last_status_code=200)
    response = operator.get("/admin/orderhooks/delivery/", {"response": typed, "since": "24h"})
    assert sorted(row.last_status_code for row in response.context["cl"].result_list) == found


def test_the_box_keeps_what_was_typed_and_the_other_filters(operator) -> None:
    text = page(operator, "delivery/?response=404&since=24h")
    assert 'name="response" value="404"' in text
    assert '<input type="hidden" name="since" value="24h">' in text
