"""Headers of any name are shown. Templates look nothing up in a mapping whose keys a user or a receiver chooses."""

import re
from pathlib import Path

import pytest

import orderhooks
from orderhooks.models import Delivery
from tests.admin.visits import page
from tests.factories import make_attempt, make_delivery, make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

# What Django's templates would call or take in place of the mapping's own.
NAMES = ["items", "keys", "values", "get", "0", "__class__", "copy"]
TEMPLATES = sorted(Path(orderhooks.__file__).parent.rglob("templates/**/*.html"))


@pytest.mark.parametrize("name", NAMES)
def test_headers_of_any_name_are_on_every_page_that_shows_headers(
    operator, receiver: RecordingReceiver, name: str
) -> None:
    receiver.answer = lambda _count: Answer(200, b"", ((name, "from the receiver"),))
    subscription = make_subscription(url=receiver.url, headers={name: "of the store"})
    order = make_order()
    base = f"subscription/{subscription.pk}"
    response = operator.post(f"/admin/orderhooks/{base}/test/").content.decode()
    assert f"{name}: (redacted)" in response
    assert f"{name}: from the receiver" in response
    shown = page(operator, f"{base}/preview/?topic=order.paid&order={order.number}")
    assert f"{name}: (hidden)" in shown
    assert f">{name}<" in page(operator, f"{base}/code-samples/")
    assert f"{name}: (hidden)" in page(operator, f"{base}/change/")
    tested = page(operator, f"delivery/{Delivery.objects.latest('pk').pk}/change/")
    assert f"{name}: from the receiver" in tested
    delivery = make_delivery(subscription=subscription)
    make_attempt(delivery, request_headers={name: "a"}, response_headers={name: "b"})
    shown = page(operator, f"delivery/{delivery.pk}/change/")
    assert f"{name}: a" in shown
    assert f"{name}: b" in shown


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.name)
def test_no_template_looks_anything_up_in_a_mapping(template: Path) -> None:
    found = re.findall(r"[\w.]+\.(?:items|keys|values)\b", template.read_text())
    assert not found, "hand the template a list of pairs: a key of the mapping could have that name"
