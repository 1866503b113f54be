"""Subscriptions in the admin: the secret is shown once, a worker is not overwritten."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orderhooks import signing
from orderhooks.admin.subscriptions.forms import SubscriptionForm
from orderhooks.models import Subscription
from tests.admin.visits import errors_of, page
from tests.factories import (
    make_attempt,
    make_delivery,
    make_subscription,
)

pytestmark = pytest.mark.django_db


SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


def subscription_form(**fields: Any) -> dict[str, Any]:
    given = {
        "name": "CRM",
        "store": "",
        "url": "https://crm.example/hooks",
        "topics": "order.paid",
        "format": "standard",
        "headers": "",
        "signature": "standard",
        "objective_share": "99",
    }
    return {**given, **fields}


def test_the_secret_is_shown_once_and_kept_nowhere_in_the_clear(operator):
    response = operator.post("/admin/orderhooks/subscription/add/", subscription_form(), follow=True)
    shown = SECRET.findall(response.content.decode())
    subscription = Subscription.objects.get()
    assert shown == [one.reveal() for one in subscription.secrets.all()]
    for path in (
        "subscription/",
        f"subscription/{subscription.pk}/change/",
        f"subscription/{subscription.pk}/history/",
    ):
        assert not SECRET.search(page(operator, path))
    assert not any(SECRET.search(f"{entry.change_message}{entry.object_repr}") for entry in LogEntry.objects.all())
    assert not any(SECRET.search(str(session.get_decoded())) for session in Session.objects.all())
    assert not any(SECRET.search(cookie.value) for cookie in operator.cookies.values())


@pytest.mark.parametrize("button", ["_continue", "_addanother"])
def test_the_secret_is_shown_whichever_button_saved(operator, button):
    response = operator.post("/admin/orderhooks/subscription/add/", subscription_form(**{button: "1"}), follow=True)
    assert len(SECRET.findall(response.content.decode())) == 1


def test_editing_makes_no_other_secret_and_shows_none(operator):
    subscription = make_subscription()
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    response = operator.post(path, subscription_form(name="ERP"), follow=True)
    assert not SECRET.search(response.content.decode())
    subscription.refresh_from_db()
    assert (subscription.name, subscription.secrets.count()) == ("ERP", 1)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("order.paid", ["order.paid"]),
        ("order.paid\r\norder.closed\r\n", ["order.paid", "order.closed"]),
        ("order.paid, order.closed,order.paid", ["order.paid", "order.closed"]),
        ("*", ["*"]),
    ],
)
@pytest.mark.parametrize("field", ["topics", "topics_others"])
def test_topics_may_be_typed_with_commas_or_spaces(operator, typed, stored, field):
    fields = subscription_form(topics=[], **{field: typed}) if field != "topics" else subscription_form(topics=typed)
    operator.post("/admin/orderhooks/subscription/add/", fields)
    assert Subscription.objects.get().topics == stored


def boxes(text: str) -> dict[str, bool]:
    """The boxes for topics on a page, by pattern: whether each is checked."""
    found = re.findall(r'<input type="checkbox" name="topics" value="([^"]+)"([^>]*)>', text)
    return {pattern: "checked" in rest for pattern, rest in found}


def test_topics_are_chosen_by_boxes_with_their_meaning(operator, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"loyalty.points_added": "Points were added."}}
    text = page(operator, "subscription/add/")
    assert "An order was placed." in text
    assert "Points were added." in text
    shown = boxes(text)
    assert {"*", "order.*", "order.paid", "loyalty.*", "loyalty.points_added"} <= set(shown)
    assert not any(shown.values())
    assert "webhook.test" not in shown, "a test goes to the subscription that is tested, whatever its topics"
    operator.post("/admin/orderhooks/subscription/add/", subscription_form(topics=["order.*", "loyalty.points_added"]))
    subscription = Subscription.objects.get()
    assert subscription.topics == ["order.*", "loyalty.points_added"]
    checked = boxes(page(operator, f"subscription/{subscription.pk}/change/"))
    assert [pattern for pattern, is_checked in checked.items() if is_checked] == ["order.*", "loyalty.points_added"]


def test_patterns_that_the_catalogue_does_not_hold_any_more_are_kept(operator):
    subscription = make_subscription(topics=["order.paid"])
    Subscription.objects.filter(pk=subscription.pk).update(topics=["order.paid", "gift.wrapped"])
    address = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    assert 'name="topics_others" value="gift.wrapped"' in page(operator, f"subscription/{subscription.pk}/change/")
    fields = subscription_form(topics=["order.paid"], topics_others="gift.wrapped", name="Renamed")
    assert operator.post(address, fields).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.name, subscription.topics) == ("Renamed", ["order.paid", "gift.wrapped"])
    assert "topics" not in LogEntry.objects.latest("pk").change_message.lower()
    operator.post(address, subscription_form(topics=["order.closed", "order.paid"]))
    subscription.refresh_from_db()
    assert subscription.topics == ["order.closed", "order.paid"]


def test_a_topic_that_is_misspelt_gets_a_suggestion(operator):
    response = operator.post(
        "/admin/orderhooks/subscription/add/", subscription_form(topics=["order.closed"], topics_others="order.payed")
    )
    assert "Did you mean &#x27;order.paid&#x27;?" in response.content.decode()
    assert boxes(response.content.decode())["order.closed"]
    assert 'name="topics_others" value="order.payed"' in response.content.decode()


def test_a_secret_that_the_receiver_has_already_can_be_given(operator):
    own = signing.generate_secret()
    response = operator.post("/admin/orderhooks/subscription/add/", subscription_form(secret=own))
    subscription = Subscription.objects.get()
    assert [one.reveal() for one in subscription.secrets.all()] == [own]
    text = response.content.decode()
    assert own not in text
    assert "Requests are signed with the secret that you gave." in text
    assert f"/admin/orderhooks/subscription/{subscription.pk}/test/" in text
    assert not any(own in f"{entry.change_message}{entry.object_repr}" for entry in LogEntry.objects.all())
    assert 'name="secret"' not in page(operator, f"subscription/{subscription.pk}/change/")


def test_a_secret_has_to_be_typed_again_where_another_field_is_refused(operator):
    own = signing.generate_secret()
    fields = subscription_form(topics=["order.payed"], secret=own)
    response = operator.post("/admin/orderhooks/subscription/add/", fields)
    assert "Type the secret again" in response.content.decode()
    assert own not in response.content.decode()
    found = errors_of(operator, "subscription/add/", {**fields, "secret": ""})
    assert list(found) == ["topics"]


@pytest.mark.parametrize(
    ("given", "signature", "says"),
    [
        ("hunter2", "standard", "begins with &#x27;whsec_&#x27;"),
        ("whsec_c2hvcnQ=", "standard", "24 to 64 bytes"),
        ("whsec_" + "A" * 64, "ed25519", "begins with &#x27;whsk_&#x27;"),
        ("whsk_" + "A" * 86 + "==", "ed25519", "Ed25519"),
    ],
)
def test_a_secret_that_can_not_sign_is_refused_and_not_shown_again(operator, given, signature, says):
    response = operator.post(
        "/admin/orderhooks/subscription/add/", subscription_form(secret=given, signature=signature)
    )
    text = response.content.decode()
    assert says in text
    assert given not in text
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"topics": "order.pay"}, "topics"),
        ({"topics": ""}, "topics"),
        ({"topics": " , "}, "topics"),
        ({"url": "crm.example"}, "url"),
        ({"url": "https://user:word@crm.example/"}, "url"),
        ({"name": ""}, "name"),
        ({"update_interval_seconds": "0"}, "update_interval_seconds"),
        ({"timeout_seconds": "31"}, "timeout_seconds"),
        ({"objective_seconds": "0"}, "objective_seconds"),
        ({"objective_share": "100.5"}, "objective_share"),
        ({"max_in_flight": "0"}, "max_in_flight"),
        ({"contact_email": "nobody"}, "contact_email"),
    ],
)
def test_a_bad_subscription_is_refused_at_its_field(operator, fields, where):
    assert list(errors_of(operator, "subscription/add/", subscription_form(**fields))) == [where]
    assert not Subscription.objects.exists()


def test_saving_the_page_does_not_undo_what_a_worker_wrote_meanwhile(operator, monkeypatch):
    subscription = make_subscription()
    clean = SubscriptionForm.clean

    def clean_while_a_worker_disables(form: Any) -> Any:
        Subscription.objects.update(state="disabled", state_reason="It responded with 410.")
        return clean(form)

    monkeypatch.setattr(SubscriptionForm, "clean", clean_while_a_worker_disables)
    operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/change/", subscription_form(name="ERP"))
    subscription.refresh_from_db()
    assert (subscription.name, subscription.state) == ("ERP", "disabled")


def test_a_disabled_subscription_may_be_edited_and_stays_disabled(operator):
    subscription = make_subscription(state="disabled", state_reason="It responded with 410.")
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    # The page has no field for the state: a value that is sent all the same changes nothing.
    assert operator.post(path, subscription_form(name="ERP", state="active")).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.name, subscription.state, subscription.state_reason) == (
        "ERP",
        "disabled",
        "It responded with 410.",
    )


def test_a_subscription_can_be_deleted_with_its_log(operator):
    subscription = make_subscription()
    make_attempt(make_delivery(subscription=subscription))
    path = f"/admin/orderhooks/subscription/{subscription.pk}/delete/"
    assert "deliveries: 1" in operator.get(path).content.decode().lower()
    operator.post(path, {"post": "yes"})
    assert not Subscription.objects.exists()


HEADERS = "Authorization: Bearer tok_s3cr3t\r\nX-Team: shop"


def test_headers_are_typed_as_lines_and_shown_without_their_values(operator):
    operator.post("/admin/orderhooks/subscription/add/", subscription_form(headers=HEADERS))
    subscription = Subscription.objects.get()
    assert subscription.own_headers() == {"Authorization": "Bearer tok_s3cr3t", "X-Team": "shop"}
    change = f"subscription/{subscription.pk}/change/"
    text = page(operator, change)
    assert "Authorization: (hidden)\nX-Team: (hidden)" in text
    assert "s3cr3t" not in text
    kept = subscription_form(headers="Authorization: (hidden)\r\nX-Team: ops", name="ERP")
    operator.post(f"/admin/orderhooks/{change}", kept)
    assert Subscription.objects.get().own_headers() == {"Authorization": "Bearer tok_s3cr3t", "X-Team": "ops"}
    operator.post(f"/admin/orderhooks/{change}", subscription_form(headers=""))
    assert Subscription.objects.get().own_headers() == {}


def test_a_page_saved_as_it_is_leaves_the_headers_alone(operator):
    subscription = make_subscription(url=subscription_form()["url"], headers={"X-Key": "tok_s3cr3t"})
    before = Subscription.objects.get().headers
    operator.post(
        f"/admin/orderhooks/subscription/{subscription.pk}/change/",
        subscription_form(url=subscription.url, headers="X-Key: (hidden)"),
    )
    assert Subscription.objects.get().headers == before
    assert "eaders" not in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    "headers", ["no colon", "Host: evil.example", "X-Key: ключ", "X-Key: (hidden)", "X-Key: a\nX-Key: b", "X Key: v"]
)
def test_headers_that_can_not_be_sent_are_refused_at_their_field(operator, headers):
    assert list(errors_of(operator, "subscription/add/", subscription_form(headers=headers))) == ["headers"]


def test_choosing_a_public_key_shows_it(operator):
    subscription = make_subscription()
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    response = operator.post(path, subscription_form(signature="ed25519"), follow=True).content.decode()
    [public] = re.findall(r"whpk_[A-Za-z0-9+/=]+", response)
    assert "whsk_" not in response
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert public in text
    assert "whsk_" not in text


def test_the_page_with_a_secret_is_kept_by_no_cache(operator):
    response = operator.post("/admin/orderhooks/subscription/add/", subscription_form())
    assert "no-store" in response["cache-control"]


@pytest.mark.parametrize(
    ("url", "reason", "setting"),
    [
        ("http://crm.example/", "Use https://", "REQUIRE_HTTPS"),
        ("https://10.1.2.3/", "a private network (RFC 1918)", "ALLOWED_NETWORKS"),
    ],
)
def test_a_refused_url_is_explained_with_the_setting_that_would_allow_it(operator, settings, url, reason, setting):
    settings.ORDERHOOKS = {}
    [error] = errors_of(operator, "subscription/add/", subscription_form(url=url))["url"]
    assert reason in error
    assert f'ORDERHOOKS["{setting}"]' in error


def test_limits_and_mail_are_set_on_the_page(operator):
    subscription = make_subscription()
    given = {"timeout_seconds": "5", "contact_email": "team@example.com", "mail_disabled": "on"}
    operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/change/", subscription_form(**given))
    subscription.refresh_from_db()
    assert (subscription.timeout_seconds, subscription.contact_email) == (5, "team@example.com")
    assert (subscription.mail_failing, subscription.mail_disabled, subscription.mail_recovered) == (False, True, False)


def test_a_change_is_in_the_history_by_the_names_of_the_fields(operator):
    subscription = make_subscription(headers={"X-Key": "tok_0ld"})
    form = subscription_form(name="ERP", headers="X-Key: tok_s3cr3t", mail_failing="on")
    operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/change/", form)
    text = page(operator, f"subscription/{subscription.pk}/history/")
    for name in ("Name", "URL", "Topics", "Headers"):
        assert name in text
    assert "tok_" not in text + str(LogEntry.objects.values_list("change_message", flat=True))


def test_the_page_says_first_how_the_endpoint_is_doing(operator):
    subscription = make_subscription(state="disabled", state_reason="It responded with <b>410</b>.")
    make_delivery(subscription=subscription)
    text = page(operator, f"subscription/{subscription.pk}/change/")
    banner, name = text.index("Disabled: nothing is sent to it."), text.index('name="name"')
    assert banner < name
    assert "It responded with &lt;b&gt;410&lt;/b&gt;." in text
    assert "1 delivery waits." in text


def test_the_form_of_a_new_subscription_has_only_what_a_person_chooses(operator):
    text = page(operator, "subscription/add/")
    assert "How it is signed" in text
    assert "How it is doing" not in text
    assert "cooling down until" not in text.lower()
    assert "/admin/orderhooks/subscription/topics/" in text


def test_a_page_takes_the_same_queries_however_much_waits(operator):
    subscription = make_subscription(state="paused")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(operator, f"subscription/{subscription.pk}/change/")
        return len(captured)

    make_delivery(subscription=subscription)
    queries()
    few = queries()
    for _ in range(4):
        make_delivery(subscription=subscription)
        subscription.add_secret()
    assert queries() == few
