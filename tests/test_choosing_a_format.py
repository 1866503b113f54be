"""Where a format is chosen and what it looks like: the admin, the API, declarations, the development receiver."""

import html
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from orderhooks import tasks
from orderhooks.models import Subscription
from tests.admin.test_subscriptions import subscription_form
from tests.api.calls import EVERYTHING, client_with, patch, post
from tests.commands.calls import called
from tests.commands.test_listen import listened, order_and_pump
from tests.factories import make_delivery, make_event, make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver
from tests.store_formats import BYTES, ERP

pytestmark = pytest.mark.django_db(transaction=True)

CHANGE = "/admin/orderhooks/subscription/{}/change/"


@pytest.fixture(autouse=True)
def _store(settings: Any) -> None:
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "FORMATS": {"erp": ERP, "bytes": BYTES},
        "REQUEST_ORIGIN": "shop.example.com",
    }


@pytest.fixture
def operator(admin_client: Client) -> Client:
    return admin_client


def page(client: Client, path: str) -> str:
    response = client.get(f"/admin/orderhooks/{path}")
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_the_admin_offers_the_stores_formats_and_records_the_change(operator: Client) -> None:
    subscription = make_subscription(url="https://crm.example/hooks", name="CRM", topics=["order.paid"])
    assert "ERP (XML)" in page(operator, f"subscription/{subscription.pk}/change/")
    operator.post(CHANGE.format(subscription.pk), subscription_form(format="erp"))
    subscription.refresh_from_db()
    assert subscription.format == "erp"
    history = page(operator, f"subscription/{subscription.pk}/history/")
    assert "Format: JSON: the whole event → ERP (XML)." in history


def test_the_admin_refuses_an_unknown_format_at_its_field_and_keeps_one_that_is_gone(operator: Client) -> None:
    subscription = make_subscription(url="https://crm.example/hooks", name="CRM", format="gone")
    response = operator.post(CHANGE.format(subscription.pk), subscription_form(format="xml"))
    assert list(response.context["adminform"].form.errors) == ["format"]
    assert "gone: missing in the setting FORMATS" in page(operator, f"subscription/{subscription.pk}/change/")
    operator.post(CHANGE.format(subscription.pk), subscription_form(format="gone", name="Renamed"))
    subscription.refresh_from_db()
    assert (subscription.name, subscription.format) == ("Renamed", "gone")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "It is asked by OPTIONS before the next request."),
        ({"consented_per_minute": None}, "Requests from shop.example.com are allowed."),
        ({"consented_per_minute": 60}, "At most 60 requests a minute."),
    ],
)
def test_the_admin_shows_what_the_endpoint_allows(operator: Client, fields: dict[str, Any], says: str) -> None:
    url = "https://crm.example/hooks"
    if fields:
        fields = {"consented_url": url, "consented_origin": "shop.example.com", **fields}
    subscription = make_subscription(url=url, format="cloudevents", **fields)
    assert says in page(operator, f"subscription/{subscription.pk}/change/")
    other = make_subscription(url=url)
    assert "consent of the endpoint" not in page(operator, f"subscription/{other.pk}/change/").lower()


@pytest.mark.parametrize(
    ("format", "pieces"),
    [
        ("form", ["data[order][number] = A 7", "data%5Border%5D%5Bnumber%5D=A+7"]),
        ("cloudevents", ['"specversion": "1.0"', '"subject": "A 7"']),
        ("cloudevents_binary", ['"number": "A 7"', "ce-subject: A%207"]),
        ("thin", ['"url": "/api/events/evt_']),
        ("erp", ['<order number="A 7" topic="order.paid"/>', "x-erp-order: A 7"]),
        ("bytes", ["\N{REPLACEMENT CHARACTER}", "openssl base64 -d"]),
    ],
)
def test_a_delivery_shows_the_body_and_the_script_of_its_format(
    operator: Client, format: str, pieces: list[str]
) -> None:
    event = make_event(order_number="A 7", payload={"order": {"number": "A 7"}, "changes": {}})
    delivery = make_delivery(event=event, subscription=make_subscription(format=format))
    text = page(operator, f"delivery/{delivery.pk}/change/")
    assert [piece for piece in pieces if piece not in text] == []
    assert ("ce-subject: A%207\n" in text) == (format == "cloudevents_binary"), "headers of its own are shown, too"


@pytest.mark.parametrize(
    ("format", "pieces"),
    [
        ("form", ["data[order][number] = A 7", "content-type: application/x-www-form-urlencoded"]),
        ("cloudevents_binary", ["ce-subject: A%207", "webhook-request-origin: shop.example.com"]),
        ("bytes", ["content-type: application/octet-stream"]),
    ],
)
def test_a_preview_shows_the_request_of_its_format(operator: Client, format: str, pieces: list[str]) -> None:
    order = make_order(number="A 7")
    subscription = make_subscription(format=format, url="http://127.0.0.1:8000/hooks")
    text = page(operator, f"subscription/{subscription.pk}/preview/?order={order.number}&topic=order.paid")
    assert [piece for piece in pieces if piece not in text] == []


@pytest.mark.parametrize(
    ("format", "pieces"),
    [
        ("cloudevents_binary", ["ce-specversion", "webhook-request-origin", 'methods=["OPTIONS"]', "HTTP_CE_TYPE"]),
        ("form", ["application/x-www-form-urlencoded", "parse_qsl", "URLSearchParams", "parse_str"]),
        ("erp", ["application/xml; charset=utf-8", "x-erp-order"]),
        ("gone", ["as the format says"]),
    ],
)
def test_the_code_for_receivers_reads_the_format(operator: Client, format: str, pieces: list[str]) -> None:
    subscription = make_subscription(format=format)
    text = page(operator, f"subscription/{subscription.pk}/code-samples/")
    assert [piece for piece in pieces if piece not in text] == []
    assert ("from orderhooks.receiver import" in text) == (format not in ("erp", "gone"))


def test_the_api_takes_known_formats_alone_and_shows_the_allowed_rate() -> None:
    api = client_with(*EVERYTHING)
    endpoint = {"name": "CRM", "url": "https://crm.example/hooks", "topics": ["*"]}
    made = post(api, "/subscriptions/", {**endpoint, "format": "cloudevents"})
    assert (made.data["format"], made.data["max_per_minute"]) == ("cloudevents", None)
    path = f"/subscriptions/{made.data['public_id']}/"
    refused = patch(api, path, {"format": "from"})
    assert refused.status_code == 422
    assert "Did you mean 'form'?" in str(refused.data)
    assert patch(api, path, {"format": "erp"}).data["format"] == "erp"
    assert patch(api, path, {"max_per_minute": 5}).data["max_per_minute"] is None, "only the endpoint can change it"
    Subscription.objects.update(
        format="cloudevents",
        consented_url=endpoint["url"],
        consented_origin="shop.example.com",
        consented_per_minute=60,
    )
    assert api.get(f"/api{path}").data["max_per_minute"] == 60


def test_a_declared_format_is_applied_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.toml"
    table = '[[subscriptions]]\nname = "CRM"\nurl = "https://crm.example/hooks"\ntopics = ["*"]\nformat = "{}"\n'
    file.write_text(table.format("thin"))
    called("orderhooks_apply", str(file))
    assert Subscription.objects.get().format == "thin"
    file.write_text(table.format("thick"))
    with pytest.raises(Exception, match="format: There is no format 'thick'"):
        called("orderhooks_apply", str(file))


@pytest.mark.parametrize(
    ("format", "piece"),
    [
        ("form", "type = order.created\n"),
        ("cloudevents", '"type": "order.created"'),
        ("cloudevents_binary", '"number": "A-7"'),
        ("thin", '"url": "/api/events/'),
    ],
)
def test_the_development_receiver_shows_each_format(format: str, piece: str) -> None:
    arguments = ("--topics", "order.created", "--format", format, "--count", "1", "--body")
    printed = listened(*arguments, then=order_and_pump)
    assert "204  order.created  order A-7" in printed
    assert piece in printed


def test_an_attempt_that_ended_with_the_handshake_is_shown_as_one(
    operator: Client, receiver: RecordingReceiver
) -> None:
    receiver.permission = lambda _count: Answer(403, headers=(("Allow", "POST"),))
    delivery = make_delivery(subscription=make_subscription(url=receiver.url, format="cloudevents", name="Hub"))
    tasks.pump()
    text = page(operator, f"delivery/{delivery.pk}/change/")
    assert f"OPTIONS {receiver.url}" in text
    assert "Hub did not allow the requests" in text
    assert "respond to OPTIONS with WebHook-Allowed-Origin" in text


def test_choices_are_tried_in_the_format_that_is_chosen_with_them(operator: Client) -> None:
    make_event(payload={"order": {"number": "A 7"}, "changes": {}})
    subscription = make_subscription(url="https://crm.example/hooks", format="cloudevents")
    tried = {"topics": "*", "events": "5"}
    path = f"/admin/orderhooks/subscription/{subscription.pk}/try/"
    assert '"specversion": "1.0"' in html.unescape(operator.post(path, tried).content.decode())
    chosen = html.unescape(operator.post(path, {**tried, "format": "form"}).content.decode())
    assert "data[order][number] = A 7" in chosen
    assert operator.post(path, {**tried, "format": "bytes"}).status_code == 200
    response = post(client_with(*EVERYTHING, "view_event"), "/subscriptions/try/", {"topics": ["*"], "format": "form"})
    assert "data%5Border%5D%5Bnumber%5D=A+7" in response.data["results"][0]["body"]
