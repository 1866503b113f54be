"""Replays in the admin: a form, the count, a yes, progress, cancelling; and who may."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import operations, replaying
from orderhooks.admin.replays import ReplayAdmin
from orderhooks.models import Delivery, Replay
from tests.admin.visits import page, staff
from tests.factories import make_delivery, make_event_at, make_replay, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now()
HOUR = timedelta(hours=1)
ADD = "/admin/orderhooks/replay/add/"


def typed(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M")


def form(subscription: Any, **fields: Any) -> dict[str, Any]:
    defaults = {"subscription": subscription.pk, "since": typed(NOW - 24 * HOUR), "until": "", "only": "all"}
    return {**defaults, **fields}


@pytest.fixture
def events() -> list[Any]:
    return [make_event_at(NOW - HOUR, topic=topic) for topic in ("order.paid", "order.paid", "order.created")]


def test_the_page_of_a_subscription_leads_to_the_form_for_it(operator) -> None:
    subscription = make_subscription(name="Warehouse")
    text = page(operator, f"subscription/{subscription.pk}/change/")
    assert f"{ADD}?subscription={subscription.pk}" in text
    text = page(operator, f"replay/add/?subscription={subscription.pk}")
    assert f'<option value="{subscription.pk}" selected>Warehouse</option>' in text
    assert 'type="datetime-local"' in text


def test_it_counts_first_and_makes_nothing(operator, events) -> None:
    subscription = make_subscription()
    response = operator.post(ADD, form(subscription, topics=["order.paid"]))
    assert "<strong>2 deliveries</strong> would be sent" in response.content.decode()
    assert not Replay.objects.exists()


def test_alarms_can_be_sent_again_by_topic(operator) -> None:
    make_subscription()
    assert "worker.missing" not in page(operator, "replay/add/")
    subscription = make_subscription(operational=True, topics=["*"])
    for topic in ("worker.missing", "webhook.subscription.failing"):
        make_event_at(NOW - HOUR, topic=topic, source="", order_pk="", order_number="")
    text = operator.post(ADD, form(subscription, topics=["worker.missing"])).content.decode()
    assert "<strong>1 delivery</strong> would be sent" in text
    assert "webhook.test" not in text


def test_topics_that_the_subscription_does_not_want_are_named(operator, events) -> None:
    subscription = make_subscription(name="Warehouse", topics=["order.created"])
    text = operator.post(ADD, form(subscription, topics=["order.paid"])).content.decode()
    assert "Warehouse does not want order.paid" in text
    assert "Nothing would be sent." in text
    assert "Change the times" not in text
    wanted = operator.post(ADD, form(make_subscription(), topics=["order.paid"])).content.decode()
    assert "does not want" not in wanted


def test_a_yes_starts_it(operator, events) -> None:
    subscription = make_subscription()
    since = NOW.replace(second=0, microsecond=0) - 24 * HOUR
    data = form(subscription, topics=["order.paid"], only="never_sent", confirm="yes")
    response = operator.post(ADD, data, follow=True)
    replay = Replay.objects.get()
    user = response.wsgi_request.user
    assert (replay.subscription, replay.since, replay.topics, replay.only, replay.total, replay.requested_by) == (
        subscription,
        since,
        ["order.paid"],
        "never_sent",
        2,
        user.get_username(),
    )
    assert "0 deliveries made due, of 2 expected" in response.content.decode()
    assert set(LogEntry.objects.values_list("content_type__model", "object_id")) == {
        ("replay", str(replay.pk)),
        ("subscription", str(subscription.pk)),
    }


def test_a_count_that_has_no_end_says_so(operator, events, monkeypatch) -> None:
    monkeypatch.setattr(replaying, "MOST_COUNTED", 2)
    text = operator.post(ADD, form(make_subscription())).content.decode()
    assert "<strong>2 deliveries or more</strong> would be sent" in text


def test_held_ones_are_announced_beforehand(operator, events) -> None:
    text = operator.post(ADD, form(make_subscription(state="paused"))).content.decode()
    assert "held until it is resumed" in text


@pytest.mark.parametrize("answer", [{}, {"confirm": "yes"}], ids=["counted", "confirmed"])
def test_what_can_not_be_sent_again_is_said_on_the_form(operator, events, settings, answer) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETENTION_DAYS": {"events": 90, "deliveries": 7}}
    old = (NOW - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M")
    text = operator.post(ADD, form(make_subscription(), since=old, only="never_sent", **answer)).content.decode()
    assert "Deliveries are deleted after 7 days" in text
    on_call = make_subscription(operational=True, topics=["*"])
    text = operator.post(ADD, form(on_call, topics=["order.paid"], **answer)).content.decode()
    assert "is not a topic of operational subscriptions" in text
    assert not Replay.objects.exists()


def test_events_of_a_topic_that_is_no_longer_made_are_sent_again(operator, events) -> None:
    make_event_at(NOW - HOUR, topic="order.gift_wrapped")
    data = form(make_subscription(), topics=["order.gift_wrapped"])
    assert "<strong>1 delivery</strong> would be sent" in operator.post(ADD, data).content.decode()
    operator.post(ADD, {**data, "confirm": "yes"})
    assert Replay.objects.get().topics == ["order.gift_wrapped"]


def test_one_can_go_back_and_change_it(operator, events) -> None:
    data = form(make_subscription(), topics=["order.paid"], again="Change")
    text = operator.post(ADD, data).content.decode()
    assert '<input type="checkbox" name="topics" value="order.paid"' in text
    assert "checked" in text
    assert not Replay.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"since": ""}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": typed(NOW + 24 * HOUR)}, "since"),
        ({"until": typed(NOW - 48 * HOUR)}, "until"),
        ({"only": "some"}, "only"),
        ({"topics": ["order.eaten"]}, "topics"),
        ({"topics": ["webhook.test"]}, "topics"),
        ({"subscription": 0}, "subscription"),
    ],
)
def test_bad_fields_are_named(operator, fields, field) -> None:
    for more in ({}, {"confirm": "yes"}):
        response = operator.post(ADD, {**form(make_subscription()), **fields, **more})
        assert list(response.context["form"].errors) == [field]
    assert not Replay.objects.exists()


def test_the_page_comes_again_while_it_runs_and_shows_how_far_it_is(operator, monkeypatch) -> None:
    monkeypatch.setattr(replaying, "BATCH", 2)
    for _ in range(3):
        make_event_at(NOW - HOUR)
    replay = operations.replay(make_subscription(), since=NOW - 2 * HOUR, until=NOW)
    address = f"/admin/orderhooks/replay/{replay.pk}/change/"
    replaying.process_batch(now=NOW)
    running = operator.get(address)
    assert running.headers["refresh"] == "3"
    assert "2 deliveries made due, of 3 expected" in running.content.decode()
    assert "Refresh" in running.content.decode()
    replaying.process_batch(now=NOW)
    done = operator.get(address)
    assert "refresh" not in done.headers
    assert "100 % of the time gone through. 3 deliveries made due, of 3 expected" in done.content.decode()
    assert "Cancel this replay" not in done.content.decode()


def test_a_page_that_shows_it_running_reloads_even_if_it_ends_meanwhile(operator, monkeypatch) -> None:
    make_event_at(NOW - HOUR)
    replay = operations.replay(make_subscription(), since=NOW - 2 * HOUR, until=NOW)
    read = ReplayAdmin.get_object

    def read_before_it_ends(self: ReplayAdmin, *arguments: Any) -> Replay | None:
        shown = read(self, *arguments)
        replaying.process_batch(now=NOW)
        return shown

    monkeypatch.setattr(ReplayAdmin, "get_object", read_before_it_ends)
    response = operator.get(f"/admin/orderhooks/replay/{replay.pk}/change/")
    replay.refresh_from_db()
    assert replay.state == "done"
    assert "0 deliveries made due, of 1 expected" in response.content.decode()
    assert response.headers["refresh"] == "3"


def test_it_can_be_cancelled_once(operator) -> None:
    replay = make_replay()
    assert "Cancel this replay" in page(operator, f"replay/{replay.pk}/change/")
    response = operator.post(f"/admin/orderhooks/replay/{replay.pk}/cancel/", follow=True)
    assert "Cancelled. What it had made due already is sent." in response.content.decode()
    replay.refresh_from_db()
    assert replay.state == "cancelled"
    response = operator.post(f"/admin/orderhooks/replay/{replay.pk}/cancel/", follow=True)
    assert "It had already finished." in response.content.decode()
    assert LogEntry.objects.get().object_id == str(replay.pk)


def test_former_ones_are_listed_with_the_same_queries_however_many(operator) -> None:
    def grow(count: int) -> int:
        for _ in range(count):
            make_replay(state="done", finished_at=NOW, done=5, total=7, total_is_exact=False)
        text = page(operator, "replay/")
        assert "5 of 7+" in text
        with CaptureQueriesContext(connection) as captured:
            page(operator, "replay/")
        return len(captured)

    assert grow(2) == grow(7)


class TestWhoMay:
    def test_a_viewer_sees_and_does_nothing(self, events) -> None:
        viewer = staff("view_replay", "view_subscription")
        replay = make_replay()
        page(viewer, "replay/")
        assert "Cancel this replay" not in page(viewer, f"replay/{replay.pk}/change/")
        assert ADD not in page(viewer, f"subscription/{replay.subscription_id}/change/")
        page(viewer, "replay/add/", status=403)
        assert viewer.post(ADD, form(replay.subscription, confirm="yes")).status_code == 403
        assert viewer.post(f"/admin/orderhooks/replay/{replay.pk}/cancel/").status_code == 403
        assert [one.state for one in Replay.objects.all()] == ["running"]

    @pytest.mark.parametrize("sees", ["view_subscription", "change_subscription"])
    def test_who_may_redeliver_and_sees_subscriptions_may_replay(self, events, sees) -> None:
        redeliverer = staff("view_replay", "redeliver_delivery", sees)
        subscription = make_subscription()
        assert redeliverer.post(ADD, form(subscription, confirm="yes")).status_code == 302
        replay = Replay.objects.get()
        assert redeliverer.post(f"/admin/orderhooks/replay/{replay.pk}/cancel/").status_code == 302
        replay.refresh_from_db()
        assert replay.state == "cancelled"

    @pytest.mark.parametrize("permissions", [["redeliver_delivery"], ["redeliver_delivery", "view_delivery"]])
    def test_who_does_not_see_subscriptions_starts_no_replay(self, events, permissions) -> None:
        redeliverer, subscription = staff(*permissions), make_subscription(name="Kept to few")
        assert "Kept to few" not in page(redeliverer, "replay/add/", status=403)
        assert redeliverer.post(ADD, form(subscription, confirm="yes")).status_code == 403
        assert not Replay.objects.exists()

    def test_others_see_nothing(self) -> None:
        replay = make_replay()
        nobody = staff("view_order", "change_subscription", "view_delivery", "change_replay", "delete_replay")
        page(nobody, "replay/", status=403)
        page(nobody, f"replay/{replay.pk}/change/", status=403)
        assert "Former replays" not in page(nobody, f"subscription/{replay.subscription_id}/change/")

    def test_who_may_replay_and_sees_none_comes_back_to_the_subscription(self, events) -> None:
        redeliverer, subscription = staff("redeliver_delivery", "view_subscription"), make_subscription()
        response = redeliverer.post(ADD, form(subscription, confirm="yes"), follow=True)
        assert response.redirect_chain == [(f"/admin/orderhooks/subscription/{subscription.pk}/change/", 302)]
        assert f"Replay {Replay.objects.get().public_id} has begun." in response.content.decode()

    def test_nobody_deletes_or_changes_one(self, operator) -> None:
        replay = make_replay()
        page(operator, f"replay/{replay.pk}/delete/", status=403)
        assert operator.post(f"/admin/orderhooks/replay/{replay.pk}/change/", {"state": "done"}).status_code == 403


def test_names_are_shown_and_not_run(operator, events) -> None:
    subscription = make_subscription(name="<script>alert(1)</script>")
    replay = make_replay(subscription=subscription, requested_by="<b>bob</b>")
    make_delivery(subscription=subscription)
    for text in (
        page(operator, "replay/"),
        page(operator, f"replay/{replay.pk}/change/"),
        page(operator, "replay/add/"),
        operator.post(ADD, form(subscription)).content.decode(),
    ):
        assert "<script>alert(1)" not in text
        assert "<b>bob" not in text
        assert "&lt;script&gt;" in text
    assert Delivery.objects.count() == 1
