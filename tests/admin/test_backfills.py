"""Backfills in the admin: a form, the count, a yes, progress, cancelling; and who may."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from orderhooks import backfilling, operations
from orderhooks.models import Backfill
from orderhooks.sources import BuiltInOrders
from tests.admin.visits import page, staff
from tests.factories import make_backfill, make_order, make_replay, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now()
ADD = "/admin/orderhooks/backfill/add/"


def typed(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M")


def form(subscription: Any, **fields: Any) -> dict[str, Any]:
    return {"subscription": subscription.pk, "since": "", "topic": "order.updated", "rate": "20", **fields}


def test_the_page_of_a_subscription_leads_to_the_form_for_it(operator) -> None:
    subscription = make_subscription(name="Warehouse", topics=["order.paid"])
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert f"{ADD}?subscription={subscription.pk}" in text
    assert f"/admin/orderhooks/backfill/?subscription__id__exact={subscription.pk}" in text
    text = page(operator, f"backfill/add/?subscription={subscription.pk}")
    assert f'<option value="{subscription.pk}" selected>Warehouse</option>' in text
    assert '<option value="order.paid" selected>' in text, "a topic that it wants"


def test_the_form_offers_what_can_be_chosen(operator) -> None:
    make_subscription(name="Night watch", operational=True, topics=["*"])
    text = page(operator, "backfill/add/")
    assert '<option value="order.paid">' in text
    assert "Night watch" not in text
    assert [name for name in ("order.deleted", "order.redacted") if name in text] == []


@pytest.mark.parametrize("subscription", ["", "x", "0", "9" * 30, "9" * 5000])
def test_the_form_opens_for_any_subscription(operator, subscription: str) -> None:
    assert '<option value="order.updated" selected>' in page(operator, f"backfill/add/?subscription={subscription}")


def test_it_counts_first_and_makes_nothing(operator) -> None:
    make_order()
    text = operator.post(ADD, form(make_subscription())).content.decode()
    assert "<strong>1 order</strong> would be sent" in text
    assert "whatever has happened to it" not in text
    make_order(store="north")
    paid = form(make_subscription(store="north", state="paused"), topic="order.paid")
    text = operator.post(ADD, paid).content.decode()
    assert "<strong>1 order</strong> would be sent" in text
    assert "Each order is sent as order.paid, whatever has happened to it." in text
    assert "until it is resumed" in text
    text = operator.post(ADD, form(make_subscription(), since=typed(NOW - timedelta(minutes=2)))).content.decode()
    assert "<strong>2 orders</strong> would be sent" in text
    assert not Backfill.objects.exists()


class StoresByMethod(BuiltInOrders):
    store_field = ""

    def store(self, order: Any) -> str:
        return str(order.store)


def test_orders_are_not_counted_if_some_may_be_of_other_stores(operator, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.admin.test_backfills.StoresByMethod"]}
    make_order(store="south")
    text = operator.post(ADD, form(make_subscription(store="north"))).content.decode()
    assert "They are not counted, because the source orderhooks has no <code>store_field</code>." in text
    backfill = operations.backfill(make_subscription(store="north"))
    assert "of not counted" in page(operator, f"backfill/{backfill.pk}/change/")


def test_without_orders_there_is_nothing_to_confirm(operator) -> None:
    text = operator.post(ADD, form(make_subscription())).content.decode()
    assert "Nothing would be sent" in text
    assert 'name="confirm"' not in text


def test_a_yes_starts_it(operator) -> None:
    make_order()
    subscription = make_subscription()
    data = form(subscription, topic="order.created", rate="7", confirm="yes")
    response = operator.post(ADD, data, follow=True)
    backfill = Backfill.objects.get()
    user = response.wsgi_request.user
    assert (backfill.subscription, backfill.source, backfill.since, backfill.topic, backfill.rate) == (
        subscription,
        "orderhooks",
        None,
        "order.created",
        7,
    )
    assert (backfill.total, backfill.requested_by) == (1, user.get_username())
    assert "0 of 1 orders gone through. 0 deliveries made." in response.content.decode()
    assert set(LogEntry.objects.values_list("content_type__model", "object_id")) == {
        ("backfill", str(backfill.pk)),
        ("subscription", str(subscription.pk)),
    }


def test_one_can_go_back_and_change_it(operator) -> None:
    text = operator.post(ADD, form(make_subscription(), rate="7", again="Change")).content.decode()
    assert 'name="rate" value="7"' in text
    assert not Backfill.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": typed(NOW + timedelta(days=1))}, "since"),
        ({"topic": "order.eaten"}, "topic"),
        ({"topic": "webhook.test"}, "topic"),
        ({"topic": "order.deleted"}, "topic"),
        ({"topic": "order.paid"}, "topic"),
        ({"rate": "0"}, "rate"),
        ({"rate": "1001"}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"subscription": 0}, "subscription"),
    ],
)
def test_bad_fields_are_named(operator, fields, field) -> None:
    subscription = make_subscription(topics=["order.updated", "order.deleted"])
    for more in ({}, {"confirm": "yes"}):
        response = operator.post(ADD, {**form(subscription), **fields, **more})
        assert list(response.context["form"].errors) == [field]
    assert not Backfill.objects.exists()


def test_a_second_one_is_refused_with_the_first_ones_id(operator) -> None:
    running = make_backfill()
    text = operator.post(ADD, form(running.subscription, confirm="yes")).content.decode()
    assert f"{running.public_id} is still running" in text
    assert Backfill.objects.count() == 1


def test_of_several_sources_one_is_chosen(operator, settings) -> None:
    assert 'name="source"' not in page(operator, "backfill/add/")
    paths = ["orderhooks.sources.BuiltInOrders", "tests.test_order_keys.Users"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths}
    assert '<option value="users">users</option>' in page(operator, "backfill/add/")
    operator.post(ADD, form(make_subscription(), source="users", confirm="yes"))
    assert Backfill.objects.get().source == "users"


def test_the_page_comes_again_while_it_runs_and_shows_how_far_it_is(operator, monkeypatch) -> None:
    for _ in range(3):
        make_order(lines=[])
    backfill = make_backfill(total=3, rate=2, next_batch_at=NOW)
    address = f"/admin/orderhooks/backfill/{backfill.pk}/change/"
    backfilling.process_batch(now=NOW)
    running = operator.get(address)
    assert running.headers["refresh"] == "3"
    assert "2 of 3 orders gone through. 2 deliveries made." in running.content.decode()
    backfilling.process_batch(now=NOW + timedelta(seconds=9))
    done = operator.get(address)
    assert "refresh" not in done.headers
    assert "3 of 3 orders gone through. 3 deliveries made." in done.content.decode()
    assert "Cancel this backfill" not in done.content.decode()


def test_its_page_says_why_nothing_is_sent(operator) -> None:
    backfill = make_backfill(subscription=make_subscription(state="paused"))
    assert "Held: the subscription is paused" in page(operator, f"backfill/{backfill.pk}/change/")


def test_it_can_be_cancelled_once(operator) -> None:
    backfill = make_backfill()
    assert "Cancel this backfill" in page(operator, f"backfill/{backfill.pk}/change/")
    response = operator.post(f"/admin/orderhooks/backfill/{backfill.pk}/cancel/", follow=True)
    assert "Cancelled. What it had made due already is sent." in response.content.decode()
    backfill.refresh_from_db()
    assert backfill.state == "cancelled"
    response = operator.post(f"/admin/orderhooks/backfill/{backfill.pk}/cancel/", follow=True)
    assert "It had already finished." in response.content.decode()


def test_errors_are_shown_where_there_are_some_to_users_who_may_see_payloads(operator) -> None:
    fine = make_backfill()
    assert "First error" not in page(operator, f"backfill/{fine.pk}/change/")
    failed = make_backfill(
        failed=2, first_error="Order 7: ada@example.com", error="The source is gone.", state="failed", finished_at=NOW
    )
    text = page(operator, f"backfill/{failed.pk}/change/")
    assert "2 orders could not be read." in text
    assert "Order 7: ada@example.com" in text
    viewer = staff("view_backfill")
    text = page(viewer, f"backfill/{failed.pk}/change/")
    assert "The source is gone." in text
    assert "ada@example.com" not in text


class TestWhoMay:
    def test_a_viewer_sees_and_does_nothing(self) -> None:
        viewer = staff("view_backfill", "view_subscription")
        backfill = make_backfill(state="done", finished_at=NOW)
        page(viewer, "backfill/")
        page(viewer, f"backfill/{backfill.pk}/change/")
        text = page(viewer, f"subscription/{backfill.subscription_id}/change/")
        assert ADD not in text
        assert ("Former backfills" in text, "Former replays" in text) == (True, False)
        page(viewer, "backfill/add/", status=403)
        assert viewer.post(ADD, form(backfill.subscription, confirm="yes")).status_code == 403
        assert Backfill.objects.count() == 1

    def test_who_may_redeliver_and_sees_subscriptions_may_start_and_cancel_one(self) -> None:
        redeliverer = staff("view_backfill", "redeliver_delivery", "view_subscription")
        assert redeliverer.post(ADD, form(make_subscription(), confirm="yes")).status_code == 302
        backfill = Backfill.objects.get()
        assert redeliverer.post(f"/admin/orderhooks/backfill/{backfill.pk}/cancel/").status_code == 302
        backfill.refresh_from_db()
        assert backfill.state == "cancelled"

    def test_who_does_not_see_subscriptions_starts_none(self) -> None:
        redeliverer, subscription = staff("redeliver_delivery"), make_subscription(name="Kept to few")
        assert "Kept to few" not in page(redeliverer, "backfill/add/", status=403)
        assert redeliverer.post(ADD, form(subscription, confirm="yes")).status_code == 403
        assert not Backfill.objects.exists()

    def test_others_see_nothing(self) -> None:
        backfill = make_backfill()
        make_replay(subscription=backfill.subscription)
        nobody = staff("view_replay", "change_subscription", "change_backfill", "delete_backfill")
        page(nobody, "backfill/", status=403)
        page(nobody, f"backfill/{backfill.pk}/change/", status=403)
        text = page(nobody, f"subscription/{backfill.subscription_id}/change/")
        assert ("Former backfills" in text, "Former replays" in text) == (False, True)

    def test_nobody_deletes_or_changes_one(self, operator) -> None:
        backfill = make_backfill()
        page(operator, f"backfill/{backfill.pk}/delete/", status=403)
        assert operator.post(f"/admin/orderhooks/backfill/{backfill.pk}/change/", {"state": "done"}).status_code == 403


def test_names_are_shown_and_not_run(operator) -> None:
    make_order()
    subscription = make_subscription(name="<script>alert(1)</script>")
    backfill = make_backfill(
        subscription=make_subscription(name="<script>alert(1)</script>"),
        requested_by="<b>bob</b>",
        first_error="<b>bob</b>",
    )
    for text in (
        page(operator, "backfill/"),
        page(operator, f"backfill/{backfill.pk}/change/"),
        page(operator, "backfill/add/"),
        operator.post(ADD, form(subscription)).content.decode(),
    ):
        assert "<script>alert(1)" not in text
        assert "<b>bob" not in text
        assert "&lt;script&gt;" in text
