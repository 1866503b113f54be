"""Bodies are laid out to be read, and are there exactly as they were, to be copied without a script."""

import html

import pytest

from orderhooks.admin import bodies
from tests.admin.visits import page
from tests.factories import make_attempt, make_delivery, make_event

DEEP = "[" * 900 + ",".join("1" * 20_000) + "]" * 900


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ('{"a":1,"b":[true,null]}', '{\n  "a": 1,\n  "b": [\n    true,\n    null\n  ]\n}'),
        ('{"city":"Köln"}', '{\n  "city": "Köln"\n}'),
        ("out of paper", "out of paper"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
        (DEEP, DEEP),
        ("1" * 10_000, "1" * 10_000),
        ('"\\ud800"', '"\\ud800"'),
    ],
    ids=["members", "letters", "no JSON", "empty", "too deep", "bloated", "many digits", "half a character"],
)
def test_a_body_is_laid_out_if_it_can_be(body: str, read: str) -> None:
    assert bodies.laid_out(body) == read


@pytest.mark.django_db
@pytest.mark.parametrize("body", ['{"error":"<no>"}', "out of paper & ink", '"\\ud800"'])
def test_a_response_can_be_copied_as_it_came(operator, body: str) -> None:
    delivery = make_delivery(state="failed")
    make_attempt(delivery, status_code=500, error="status", response_body=body)
    text = page(operator, f"delivery/{delivery.pk}/change/").partition("Response body")[2]
    copied = text.partition("<textarea readonly")[2].partition(">")[2].partition("</textarea>")[0]
    assert html.unescape(copied) == body
    assert "<no>" not in text


@pytest.mark.django_db
def test_the_content_of_an_event_can_be_read_and_copied(operator) -> None:
    event = make_event(payload={"order": {"number": "1042"}}, changes={"note": ["", "x"]})
    text = html.unescape(page(operator, f"event/{event.pk}/change/"))
    assert '"order": {\n' in text
    assert 'aria-label="Payload">{"order": {"number": "1042"}}</textarea>' in text
    assert 'aria-label="Changes">{"note": ["", "x"]}</textarea>' in text
