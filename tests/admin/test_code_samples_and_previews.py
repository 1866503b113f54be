"""Previews, code for receivers and the topics: pages that change nothing, shown to users who may see them."""

import html
import json

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from jsonschema import Draft202012Validator

from orderhooks import catalogue
from orderhooks.admin.subscriptions.code_samples import snippets_for
from orderhooks.models import Delivery, Event
from orderhooks.receiver import verify
from tests.admin.visits import page, staff
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:8000/in?a=1"


def blocks(text: str) -> list[str]:
    """The texts of the page's code blocks, as a browser shows them."""
    parts = [part.partition(">")[2].partition("</pre>")[0] for part in text.split('<pre class="orderhooks-code')[1:]]
    return [html.unescape(part) for part in parts]


def test_a_preview_shows_the_signed_request_and_sends_nothing(operator):
    subscription = make_subscription(url=URL, headers={"X-Key": "tok_s3cr3t"}, topics=["order.paid"])
    make_order(number="1042", customer_name="<script>alert(1)</script>", note="Zoë ✓")
    Event.objects.all().delete()
    text = page(operator, f"subscription/{subscription.pk}/preview/?order=1042&topic=order.paid")
    head, laid_out, raw = blocks(text)
    request_line, *lines = head.strip().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    assert request_line == "POST /in?a=1 HTTP/1.1"
    assert (headers["X-Key"], headers["host"], headers["webhook-topic"]) == (
        "(hidden)",
        "127.0.0.1:8000",
        "order.paid",
    )
    event = verify(raw.encode(), headers, subscription.live_secrets(now=timezone.now()))
    assert event.data["order"]["note"] == "Zoë ✓"
    assert json.loads(laid_out) == json.loads(raw)
    assert "tok_s3cr3t" not in text
    assert "<script>alert" not in text
    assert (Event.objects.count(), Delivery.objects.count(), LogEntry.objects.count()) == (0, 0, 0)
    assert "would not get" not in text


def test_a_preview_says_that_the_subscription_would_not_get_it(operator):
    subscription = make_subscription(url=URL, topics=["order.paid"])
    make_order(number="1042")
    text = page(operator, f"subscription/{subscription.pk}/preview/?order=1042&topic=order.closed")
    assert "would not get order.closed of order 1042: topic not wanted" in text


@pytest.mark.parametrize(
    ("query", "piece"),
    [
        ("order=9999&topic=order.paid", "no order &#x27;9999&#x27;"),
        ("order=%3Cb%3E&topic=order.paid", "&lt;b&gt;"),
        ("order=1042&topic=order.payed", "errorlist"),
        ("order=&topic=order.paid", "errorlist"),
        ("order=10%0042&topic=order.paid", "errorlist"),
        ("", "Order number"),
    ],
)
def test_what_can_not_be_previewed_is_reported(operator, query, piece):
    subscription = make_subscription(url=URL)
    make_order(number="1042")
    text = page(operator, f"subscription/{subscription.pk}/preview/?{query}")
    assert piece in text
    assert blocks(text) == []
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (("view_subscription", "change_subscription", "view_payload"), 200),
        (("view_subscription", "change_subscription"), 403),
        (("view_subscription", "view_payload"), 403),
        (("change_delivery", "view_payload"), 403),
    ],
)
def test_a_preview_is_for_those_who_manage_and_see_payloads(permissions, status):
    subscription = make_subscription(url=URL)
    make_order(number="1042")
    client = staff(*permissions)
    page(client, f"subscription/{subscription.pk}/preview/?order=1042&topic=order.paid", status=status)
    if "view_subscription" in permissions:
        offered = f"/{subscription.pk}/preview/" in page(client, f"subscription/{subscription.pk}/change/")
        assert offered == (status == 200)


def test_pages_to_read_are_read_and_nothing_else(operator):
    subscription = make_subscription(url=URL)
    for name in ("preview", "code-samples"):
        assert operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/{name}/").status_code == 405
        response = operator.get(f"/admin/orderhooks/subscription/{subscription.pk + 1}/{name}/")
        assert response.status_code == 404
    assert operator.post("/admin/orderhooks/subscription/topics/").status_code == 405


@pytest.mark.parametrize(
    ("fields", "pieces"),
    [
        ({"url": "https://crm.example/hooks/orders"}, ['app.post("/hooks/orders")', 'path("hooks/orders"', "whsec_…"]),
        # What a program would take for something else is not put into one.
        ({"url": "https://crm.example/a'b$(c)"}, ['app.post("/webhooks")']),
        ({"url": "https://crm.example"}, ['app.post("/")']),
        ({"signature": "github"}, ["x-hub-signature-256", "verifies GitHub's webhooks", "whsec_ included"]),
        ({"signature": "ed25519"}, ["whpk_…", "v1a,"]),
        ({"headers": {"X-Team": "tok_s3cr3t"}}, ["X-Team"]),
    ],
)
def test_code_for_receivers_is_the_subscriptions_own(operator, fields, pieces):
    subscription = make_subscription(**fields)
    written = page(operator, f"subscription/{subscription.pk}/code-samples/")
    # Shown as text, all of it.
    assert "<?php" not in written
    assert [block.strip() for block in blocks(written)] == [one.code.strip() for one in snippets_for(subscription)]
    text = html.unescape(written)
    assert [piece for piece in pieces if piece not in text] == []
    assert "a'b" not in text
    assert "tok_s3cr3t" not in text
    for secret in subscription.live_secrets(now=timezone.now()):
        assert secret not in text


@pytest.mark.parametrize("fields", [{"operational": True, "topics": ["*"]}, {"projection": "{a: order.number}"}])
def test_code_reads_no_order_where_there_is_none(fields):
    of_orders, others = snippets_for(make_subscription()), snippets_for(make_subscription(**fields))
    assert all("order" in one.code.rpartition("data")[2] for one in of_orders)
    assert not any("order" in one.code.rpartition("data")[2].split("\n")[0] for one in others)


def test_the_topics_are_shown_with_schemas_and_examples_that_fit(operator):
    text = page(operator, "subscription/topics/")
    shown = [json.loads(block) for block in blocks(text)]
    assert len(shown) == 2 * len(catalogue.entries())
    for example, schema in zip(shown[::2], shown[1::2], strict=True):
        Draft202012Validator(schema).validate(example)
        assert schema["description"] in html.unescape(text)
    page(staff("view_subscription"), "subscription/topics/")
    page(staff("view_order"), "subscription/topics/", status=403)


@pytest.mark.parametrize(("topics", "is_said"), [(["*"], True), (["order.redacted"], True), (["order.paid"], False)])
def test_a_preview_says_why_a_wanted_topic_is_not_in_the_list(operator, topics, is_said):
    subscription = make_subscription(topics=topics)
    text = page(operator, f"subscription/{subscription.pk}/preview/")
    assert ("order.redacted is not in the list: only an erasure makes it" in text) == is_said
