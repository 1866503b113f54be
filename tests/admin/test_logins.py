"""How a subscription logs in, in the admin: typed, kept, never shown, refused at its field, warned of."""

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.test import Client
from django.utils import timezone

from orderhooks import notifications
from orderhooks.admin.subscriptions.forms import choices_of_formats
from orderhooks.models import Subscription
from tests.certificates import DAY, NOW, client_pem
from tests.factories import make_subscription, make_user

pytestmark = pytest.mark.django_db
URL = "https://crm.example/webhooks"
BASIC = {"type": "basic", "username": "shop", "password": "pa55word"}


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "CRM",
        "url": URL,
        "topics": "*",
        "format": "standard",
        "signature": "standard",
        "authentication": "none",
        **fields,
    }


def save(browser: Client, subscription: Subscription, **fields: Any) -> dict[str, list[str]]:
    """The errors of the form by field; none if it was saved."""
    response = browser.post(f"/admin/orderhooks/subscription/{subscription.pk}/change/", form(**fields))
    if response.status_code == 302:
        subscription.refresh_from_db()
        return {}
    page = response.content.decode()
    assert "pa55word" not in page
    assert "PRIVATE KEY-----" not in page.replace("-----BEGIN PRIVATE KEY-----</", "")
    errors: dict[str, list[str]] = response.context["adminform"].form.errors
    return errors


def test_a_login_is_typed_kept_changed_and_never_shown(browser):
    typed = form(authentication="basic", basic_username="shop", basic_password="pa55word")
    browser.post("/admin/orderhooks/subscription/add/", typed)
    subscription = Subscription.objects.get()
    assert subscription.basic_login() == ("shop", "pa55word")

    page = browser.get(f"/admin/orderhooks/subscription/{subscription.pk}/change/").content.decode()
    assert "pa55word" not in page
    assert 'value="shop"' in page
    assert "Is set. Blank: it stays." in page

    assert not save(browser, subscription, authentication="basic", basic_username="other")
    assert subscription.basic_login() == ("other", "pa55word")
    assert "Authentication changed." in LogEntry.objects.latest("pk").change_message
    before = LogEntry.objects.count()
    save(browser, subscription, authentication="basic", basic_username="other", name="ERP")
    assert LogEntry.objects.count() == before + 1
    assert LogEntry.objects.latest("pk").change_message == "Name: CRM → ERP."
    assert not save(browser, subscription, authentication="none", basic_username="other")
    assert subscription.authentication == {}
    assert "pa55word" not in repr(list(LogEntry.objects.values()))


def test_an_unchanged_form_changes_no_login(browser):
    chain, key = client_pem()
    login = {"certificate": chain, "private_key": key}
    subscription = make_subscription(name="CRM", url=URL, authentication=BASIC, client_certificate=login)
    before = Subscription.objects.values("authentication", "client_certificate").get()
    errors = save(
        browser, subscription, name="ERP", authentication="basic", basic_username="shop", client_certificate=chain
    )
    assert not errors
    assert Subscription.objects.values("authentication", "client_certificate").get() == before
    message = LogEntry.objects.latest("pk").change_message
    assert "Name: CRM → ERP." in message
    assert "changed." not in message


def test_oauth2_is_typed(browser):
    subscription = make_subscription(name="CRM", url=URL)
    errors = save(
        browser,
        subscription,
        authentication="oauth2",
        oauth2_token_url="https://auth.example/token",
        oauth2_client_id="shop",
        oauth2_client_secret="pa55word",
        oauth2_client_authentication="client_secret_post",
        oauth2_scope="a b",
    )
    assert not errors
    client = subscription.oauth2_client()
    assert (client.client_secret, client.scope, client.in_body) == ("pa55word", "a b", True)


@pytest.mark.parametrize(
    ("fields", "place", "text"),
    [
        ({"authentication": "basic", "basic_username": "shop"}, "basic_password", "is missing"),
        (
            {"authentication": "basic", "basic_username": "a:b", "basic_password": "pa55word"},
            "basic_username",
            "must not have a colon",
        ),
        # Typed, but another field is wrong: no page shows it, so it has to be typed again.
        (
            {"authentication": "basic", "basic_username": "", "basic_password": "pa55word"},
            "basic_password",
            "Type it again",
        ),
        ({"authentication": "oauth2", "oauth2_token_url": "http://10.0.0.1/"}, "oauth2_token_url", "Use"),
        ({"client_certificate": "nonsense", "certificate_key": "x"}, "client_certificate", "not a certificate in PEM"),
        (
            {
                "authentication": "basic",
                "basic_username": "a",
                "basic_password": "pa55word",
                "headers": "Authorization: x",
            },
            "authentication",
            "Remove that header",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_field(browser, fields, place, text):
    errors = save(browser, make_subscription(name="CRM", url=URL), **fields)
    assert text in " ".join(errors[place])


def test_another_host_needs_the_secrets_again(browser):
    chain, key = client_pem()
    login = {"certificate": chain, "private_key": key}
    subscription = make_subscription(name="CRM", url=URL, authentication=BASIC, client_certificate=login)
    moved = {"url": "https://elsewhere.example/", "authentication": "basic", "basic_username": "shop"}

    errors = save(browser, subscription, **moved, client_certificate=chain)
    assert "another host" in " ".join(errors["basic_password"])
    assert "another host" in " ".join(errors["certificate_key"])

    again = {"basic_password": "pa55word", "client_certificate": chain, "certificate_key": key}
    assert not save(browser, subscription, **moved, **again)
    assert subscription.basic_login() == ("shop", "pa55word")
    assert subscription.presented_certificate() is not None


def ending_in(days: float) -> Subscription:
    chain, key = client_pem(ends=NOW + days * DAY)
    subscription = make_subscription(
        name="CRM",
        url=URL,
        client_certificate={"certificate": chain, "private_key": key},
        contact_email="crm@crm.example",
    )
    subscription.save()
    return subscription


@pytest.mark.parametrize(
    ("days", "title", "badge"),
    [
        (7.1, "Its client certificate ends soon.", "certificate ends in 7 d"),
        (-0.5, "has expired", "certificate expired"),
    ],
)
def test_the_end_of_a_certificate_is_shown_on_its_page_the_list_and_the_dashboard(browser, days, title, badge):
    subscription = ending_in(days)
    page = browser.get(f"/admin/orderhooks/subscription/{subscription.pk}/change/").content.decode()
    assert title in page
    assert "Give the subscription a new one" in page
    assert "CN=orderhooks, issued by CN=orderhooks." in page
    assert badge in browser.get("/admin/orderhooks/subscription/").content.decode()
    assert "client certificate expire" in browser.get("/admin/orderhooks/dashboard/").content.decode()


def test_a_certificate_that_is_valid_for_long_is_not_warned_of(browser):
    ending_in(40)
    assert "certificate ends" not in browser.get("/admin/orderhooks/subscription/").content.decode()
    assert not notifications.is_due(now=timezone.now())


def test_each_warning_is_one_email(settings):
    settings.ADMINS = [("Admin", "admin@shop.example")]
    ending_in(40)
    for days, subject in ((41, "has expired"), (34, "ends soon"), (11, "ends soon")):
        Subscription.objects.update(expiry_warnings_sent=0)
        mail.outbox.clear()
        now = timezone.now() + days * DAY
        assert notifications.is_due(now=now)
        assert notifications.send_due(now=now) == 1
        assert {one.to[0] for one in mail.outbox} == {"admin@shop.example", "crm@crm.example"}
        assert all(subject in one.subject for one in mail.outbox)
        assert not notifications.is_due(now=now)
        assert notifications.send_due(now=now) == 0
    # The later ones follow.
    assert [notifications.send_due(now=timezone.now() + days * DAY) for days in (12, 34, 35, 41, 50)] == [0, 1, 0, 1, 0]
    [text] = [one.body for one in mail.outbox if one.to == ["crm@crm.example"]][-1:]
    assert "Give the subscription a new one" in text
    assert URL not in text


def rows_of(page: str) -> dict[str, str]:
    """What a page without a form shows, by label."""
    # Since Django 6.1 a field's help stands between the two.
    found = re.findall(r'<label>([^<]*):</label>(?:(?!<label>).)*?<div class="readonly">(.*?)</div>', page, re.DOTALL)
    return {label: " ".join(html.unescape(value).split()) for label, value in found}


OAUTH2 = {
    "type": "oauth2",
    "token_url": "https://login.example/token",
    "client_id": "store",
    "client_secret": "s3cret-of-client",
    "scope": "orders",
}


@pytest.mark.parametrize(
    ("login", "text"),
    [
        ({}, "None: by the signature and the headers alone"),
        (BASIC, "HTTP Basic as shop, password hidden"),
        (
            OAUTH2,
            "OAuth2 as store, secret hidden; tokens come from https://login.example/token; scope: orders",
        ),
    ],
)
def test_a_user_who_may_only_view_a_subscription_reads_its_login_and_choices_as_words(login, text):
    certificate, key = client_pem()
    subscription = make_subscription(
        url=URL,
        authentication=login,
        client_certificate={"certificate": certificate, "private_key": key},
        headers={"X-Key": "k3y-of-store"},
        topics=["order.paid", "order.cancelled"],
        changed_fields=["shipping_address"],
        format="thin",
    )
    reader = Client()
    reader.force_login(make_user("view_subscription", is_staff=True))
    page = reader.get(f"/admin/orderhooks/subscription/{subscription.pk}/change/").content.decode()

    rows = rows_of(page)
    expected = {
        "Authentication": text,
        "Topics": "order.paid, order.cancelled",
        "Changed fields": "shipping_address",
        "Format": str(dict(choices_of_formats())["thin"]),
        "Headers": "X-Key: (hidden)",
        "Store": "all stores",
    }
    assert {label: rows.get(label) for label in expected} == expected
    typed = [label for label in rows if label.startswith(("Basic ", "Oauth2 ", "Certificate ", "Client certificate"))]
    assert (typed, "None" in rows.values(), "A list such as" in page) == ([], False, False)
    assert not [secret for secret in ("pa55word", "s3cret-of-client", "k3y-of-store", "PRIVATE KEY") if secret in page]


@pytest.mark.parametrize("has_certificate", [False, True])
def test_a_passphrase_without_a_key_is_refused_with_what_to_do(browser, has_certificate):
    certificate, key = client_pem()
    login = {"client_certificate": {"certificate": certificate, "private_key": key}} if has_certificate else {}
    subscription = make_subscription(url=URL, **login)
    typed = {"client_certificate": certificate} if has_certificate else {}
    errors = save(browser, subscription, **typed, certificate_passphrase="hush")
    assert errors == {
        "certificate_passphrase": [
            "A passphrase opens a private key: type the certificate and its key too, or leave this blank."
        ]
    }
