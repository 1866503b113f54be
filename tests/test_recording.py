"""A result that the database refuses is set aside and shown; the others are written."""

import pytest
from django.utils import timezone

from orderhooks import sending
from orderhooks.models import Delivery
from orderhooks.transport import Outcome
from tests.factories import claim, make_delivery

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = {
    "a negative duration": {"duration_ms": -1},
    "a duration out of range": {"duration_ms": -(2**40)},
    "a status that is none": {"status_code": -5},
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(("error", "state", "shown"), [("status", "pending", "internal"), ("", "delivered", "")])
def test_one_result_that_the_database_refuses_keeps_back_no_other(content, error, state, shown) -> None:
    for _ in range(3):
        make_delivery()
    now = timezone.now()
    sent = [sending.Sent(one, {}, now, Outcome(status_code=200)) for one in claim(3)]
    bad = sent[1]
    outcome = Outcome(**{"status_code": 500 if error else 200, "error": error, **content})
    sent[1] = sending.Sent(bad.delivery, {}, now, outcome)
    assert sending.record(sent, now=now) == []
    assert Delivery.objects.filter(state="delivered").count() == 2 + (state == "delivered")
    delivery = Delivery.objects.get(pk=bad.delivery.pk)
    assert (delivery.state, delivery.last_error) == (state, shown)
    attempt = delivery.attempts.get()
    assert (attempt.number, attempt.error) == (1, shown)
    assert "refused to store" in attempt.detail
