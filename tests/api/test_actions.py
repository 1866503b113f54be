"""What can be done with subscriptions, deliveries and replays, beside reading and writing them."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from orderhooks.models import Delivery, ObjectiveStats, Replay, Subscription
from orderhooks.models.objective_stats import FINE, HOURLY, begins_at
from tests.api.calls import EVERYTHING, client_with, errors_of, ids, post
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_event_at,
    make_failed_event,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)
from tests.receivers import Answer, RecordingReceiver
from tests.store_formats import BYTES

pytestmark = pytest.mark.django_db

ENDPOINT = {"url": "https://crm.example/hooks", "topics": ["order.paid"]}


@pytest.mark.django_db(transaction=True)
def test_a_test_shows_the_response_at_once(receiver: RecordingReceiver):
    api = client_with(*EVERYTHING)
    subscription = make_subscription(url=receiver.url)
    receiver.answer = lambda count: Answer(503, b"closed for lunch")
    response = post(api, f"/subscriptions/{subscription.public_id}/test/", {})
    assert (response.status_code, response.data["state"], response.data["topic"]) == (200, "failed", "webhook.test")
    [attempt] = response.data["attempts"]
    assert (attempt["status_code"], attempt["response_body"]) == (503, "closed for lunch")
    assert LogEntry.objects.get().change_message == "By the API: Sent a test: failed."


@pytest.mark.django_db(transaction=True)
def test_somebody_elses_endpoint_is_not_tested(receiver: RecordingReceiver):
    subscription = make_subscription(url=receiver.url, owner=make_user())
    path = f"/subscriptions/{subscription.public_id}/test/"
    assert post(client_with(*EVERYTHING[:-1]), path, {}).status_code == 404
    assert post(client_with("view_subscription"), path, {}).status_code == 403
    assert not receiver.received


def test_pausing_and_resuming_stand_in_the_history_with_the_user(api):
    subscription = make_subscription()
    for step in ("pause", "pause", "resume"):
        post(api, f"/subscriptions/{subscription.public_id}/{step}/", {})
    notes = LogEntry.objects.order_by("pk")
    assert [note.change_message for note in notes] == [
        "By the API: Paused.",
        "By the API: Resumed; 0 deliveries skipped.",
    ]
    assert {note.object_id for note in notes} == {str(subscription.pk)}


def test_a_preview_shows_the_signed_request_and_sends_nothing(api):
    subscription = make_subscription(url="http://127.0.0.1:8009/", headers={"X-Key": "s3cr3t"}, topics=["order.paid"])
    make_order(number="7")
    path = f"/api/subscriptions/{subscription.public_id}/preview/"
    shown = api.get(path, {"order": "7", "topic": "order.paid"}).data
    assert shown["wanted"] is True
    assert '"number":"7"' in shown["body"]
    assert shown["headers"]["X-Key"] == "(hidden)"
    assert "webhook-signature" in shown["headers"]
    assert api.get(path, {"order": "8", "topic": "order.paid"}).status_code == 409
    assert "Use one of" in errors_of(api.get(path, {"order": "7", "topic": "order.pay"}))["?topic"]
    assert set(errors_of(api.get(path))) == {"?order", "?topic"}


def test_a_preview_shows_a_body_that_is_no_text(api, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"bytes": BYTES}}
    subscription = make_subscription(url="http://127.0.0.1:8009/", topics=["order.paid"], format="bytes")
    make_order(number="7")
    path = f"/api/subscriptions/{subscription.public_id}/preview/"
    response = api.get(path, {"order": "7", "topic": "order.paid"})
    assert (response.status_code, response.data["body"]) == (200, "\0\ufffd\ufffd'$(touch here)\n7")


def test_a_replay_is_counted_begun_followed_and_cancelled(api):
    subscription = make_subscription()
    make_event()
    path = f"/subscriptions/{subscription.public_id}/replay/"
    since = (timezone.now() - timedelta(hours=1)).isoformat()
    until = (timezone.now() + timedelta(seconds=1)).isoformat()
    counted = post(api, path, {"since": since, "until": until, "dry_run": True})
    assert (counted.status_code, counted.data) == (200, {"count": 1, "count_is_exact": True})
    assert not Replay.objects.exists()
    begun = post(api, path, {"since": since, "until": until, "topics": ["order.*"], "only": "never_sent"})
    assert begun.status_code == 202
    assert (begun.data["state"], begun.data["progress"], begun.data["total"]) == ("running", 0.0, 1)
    assert begun.data["subscription"] == subscription.public_id
    address = f"/replays/{begun.data['public_id']}/"
    assert api.get(f"/api{address}").data["only"] == "never_sent"
    assert post(api, f"{address}cancel/", {}).data["state"] == "cancelled"
    assert post(api, f"{address}cancel/", {}).status_code == 409
    assert ids(api.get("/api/replays/?state=cancelled")) == [begun.data["public_id"]]


def test_a_replay_of_what_was_never_sent_begins_where_deliveries_are_kept(api, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETENTION_DAYS": {"events": 90, "deliveries": 7}}
    path = f"/subscriptions/{make_subscription().public_id}/replay/"
    plan = {"since": (timezone.now() - timedelta(days=30)).isoformat(), "only": "never_sent"}
    for refused in (post(api, path, plan), post(api, path, {**plan, "dry_run": True})):
        assert refused.status_code == 422
        assert "deleted after 7 days" in errors_of(refused)["/since"]


@pytest.mark.parametrize(
    ("plan", "place"),
    [
        ({}, "/since"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2999-01-01T00:00:00Z"}, "/since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/since"),
        ({"since": "2026-01-01T00:00:00Z", "only": "some"}, "/only"),
        ({"since": "2026-01-01T00:00:00Z", "topics": ["order.pay"]}, "/topics"),
        ({"since": "2026-01-01T00:00:00Z", "subscription": "sub_" + "0" * 26}, "/subscription"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused_where_it_is_wrong(api, plan, place):
    subscription = make_subscription()
    [found] = errors_of(post(api, "/replays/", {"subscription": subscription.public_id, **plan}))
    assert found.startswith(place)
    assert not Replay.objects.exists()


def test_a_delivery_that_waits_or_failed_is_skipped(api):
    failed, sent = make_delivery(state="failed"), make_delivery(state="delivered")
    assert post(api, f"/deliveries/{failed.public_id}/skip/", {}).data["state"] == "skipped"
    response = post(api, f"/deliveries/{sent.public_id}/skip/", {})
    assert (response.status_code, response.data["code"]) == (409, "conflict")
    assert "The delivery is delivered" in response.data["detail"]


def test_many_deliveries_are_redelivered_or_skipped_at_once(api):
    failed = [make_delivery(state="failed") for _ in range(3)]
    chosen = [one.public_id for one in failed]
    response = post(api, "/deliveries/redeliver/", {"deliveries": chosen[:2]})
    assert (response.status_code, response.data) == (202, {"redelivered": 2})
    assert Delivery.objects.filter(state="pending", trigger="manual").count() == 2
    assert post(api, "/deliveries/skip/", {"deliveries": chosen}).data == {"skipped": 3}
    assert LogEntry.objects.filter(change_message="By the API: Skipped.").count() == 3
    unknown = post(api, "/deliveries/skip/", {"deliveries": [*chosen, "dlv_" + "0" * 26]})
    assert "no delivery dlv_0" in errors_of(unknown)["/deliveries"]
    assert errors_of(post(api, "/deliveries/skip/", {"deliveries": []})).keys() == {"/deliveries"}


def test_a_delivery_has_a_summary_and_its_attempts_in_pages(api):
    delivery = make_delivery(attempts_made=2)
    for status in (503, 500):
        make_attempt(delivery, status_code=status, error="status")
    told = api.get(f"/api/deliveries/{delivery.public_id}/").data["summary"]
    assert any("responded with 503 once" in sentence for sentence in told)
    first = api.get(f"/api/deliveries/{delivery.public_id}/attempts/?page_size=1").data
    assert [one["status_code"] for one in first["results"]] == [500]
    assert [one["status_code"] for one in api.get(first["next"]).data["results"]] == [503]


def test_a_curl_script_names_no_secret(api):
    delivery = make_delivery(subscription=make_subscription(headers={"X-Key": "s3cr3t"}))
    script = api.get(f"/api/deliveries/{delivery.public_id}/curl/").data["script"]
    assert delivery.event.public_id in script
    assert "s3cr3t" not in script


def test_an_event_without_a_payload_is_published_again_or_says_why_not(api):
    order = make_order()
    event = make_failed_event(order_pk=str(order.pk))
    response = post(api, f"/events/{event.public_id}/republish/", {})
    assert (response.status_code, response.data["error"]) == (200, "")
    assert post(api, f"/events/{event.public_id}/republish/", {}).status_code == 409
    gone = make_failed_event(order_pk="999999")
    refused = post(api, f"/events/{gone.public_id}/republish/", {})
    assert refused.status_code == 409
    assert "can't be built" in refused.data["detail"]


def test_statistics_add_up_over_what_the_caller_sees(api):
    mine, other = make_subscription(), make_subscription()
    make_attempt_stats(mine, 9)
    make_attempt_stats(mine, 1, outcome="5xx")
    make_attempt_stats(other, 90)
    make_delivery(subscription=mine)
    one = api.get(f"/api/subscriptions/{mine.public_id}/stats/").data
    assert (one["succeeded"], one["failed"], one["success_rate"], one["waiting"]) == (9, 1, 0.9, 1)
    assert one["by_hour"][-1]["succeeded"] == 9
    assert 11 < one["p50_ms"] < 16
    assert one["oldest_waiting_at"] is not None
    everything = api.get("/api/stats/?hours=1").data
    assert (everything["succeeded"], len(everything["by_hour"])) == (99, 1)
    make_subscription(owner=make_user())
    assert client_with(*EVERYTHING[:-1]).get("/api/stats/").data["succeeded"] == 0
    for hours in ("0", "745", "x", "-1", ""):
        assert "744" in errors_of(api.get("/api/stats/", {"hours": hours}))["?hours"]


def test_statistics_have_the_objective_of_one_subscription(api):
    now = timezone.now()
    with_one, without = make_subscription(objective_seconds=60, objective_share=90), make_subscription()
    for minutes in (FINE, HOURLY):
        ObjectiveStats.objects.create(
            subscription=with_one, minutes=minutes, begins_at=begins_at(now, minutes), met=95, missed=5
        )
    path = f"/api/subscriptions/{with_one.public_id}/stats/"
    assert api.get(path).data["objective"] == {
        "seconds": 60,
        "share": 90.0,
        "attainment": 0.95,
        "attainment_1h": 0.95,
        "budget_left": 0.5,
        "burn_rate_1h": 0.5,
        "burn_rate_6h": 0.5,
    }
    with_one.objective_share = 100
    with_one.save()
    # JSON has no infinity.
    assert api.get(path).json()["objective"]["burn_rate_1h"] is None
    assert api.get(f"/api/subscriptions/{without.public_id}/stats/").data["objective"] is None
    assert api.get("/api/stats/").data["objective"] is None


def test_a_put_by_name_makes_once_then_changes_and_is_the_same_twice(api):
    path = "/api/subscriptions/by-name/My CRM/"
    made = api.put(path, {**ENDPOINT, "ordered": True, "max_in_flight": 3}, format="json")
    assert made.status_code == 201
    assert made.data["secret"].startswith("whsec_")
    again = api.put(path, {**ENDPOINT, "ordered": True, "max_in_flight": 3}, format="json")
    assert (again.status_code, "secret" in again.data) == (200, False)
    assert Subscription.objects.get().name == "My CRM"
    # What is left out is at its default; the state, which operators change, stays.
    Subscription.objects.update(state="paused")
    changed = api.put(path, {**ENDPOINT, "topics": ["*"]}, format="json").data
    assert (changed["ordered"], changed["max_in_flight"], changed["topics"]) == (False, None, ["*"])
    assert (changed["state"], changed["public_id"]) == ("paused", made.data["public_id"])
    assert api.get(path).data["name"] == "My CRM"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_a_name_with_spaces_round_it_is_found_again(api):
    path = "/api/subscriptions/by-name/%20 CRM %09/"
    made = api.put(path, ENDPOINT, format="json")
    assert (made.status_code, made.data["name"]) == (201, "CRM")
    for again in (path, "/api/subscriptions/by-name/CRM/"):
        assert api.put(again, ENDPOINT, format="json").status_code == 200
        assert api.get(again).data["public_id"] == made.data["public_id"]
    assert Subscription.objects.count() == 1
    assert api.put("/api/subscriptions/by-name/%20/", ENDPOINT, format="json").status_code == 422
    assert api.get("/api/subscriptions/by-name/%20/").status_code == 404
    assert api.delete(path).status_code == 204


def test_a_name_that_two_have_is_a_conflict_that_lists_them(api):
    twins = [make_subscription(name="CRM") for _ in range(2)]
    response = api.put("/api/subscriptions/by-name/CRM/", ENDPOINT, format="json")
    assert response.status_code == 409
    assert all(one.public_id in response.data["detail"] for one in twins)


def test_what_a_subscription_missed_comes_with_the_reason(api):
    now = timezone.now()
    subscription = make_subscription(topics=["order.paid"])
    hours = [now - timedelta(hours=number) for number in range(5, 0, -1)]
    arrived, failed, never, other, old = (
        make_event_at(hours[0]),
        make_event_at(hours[1]),
        make_event_at(hours[2]),
        make_event_at(hours[3], topic="order.closed"),
        make_event_at(now - timedelta(days=3)),
    )
    make_delivery(event=arrived, subscription=subscription, state="delivered")
    delivery = make_delivery(event=failed, subscription=subscription, state="failed")
    path = f"/api/subscriptions/{subscription.public_id}/missed/"
    page = api.get(path).data
    assert [(one["public_id"], one["reason"], one["delivery"]) for one in page["results"]] == [
        (failed.public_id, "failed", delivery.public_id),
        (never.public_id, "not_then", None),
    ]
    assert page["next"] is None
    first = api.get(path, {"page_size": 1, "since": (now - timedelta(days=9)).isoformat()}).data
    assert [one["public_id"] for one in first["results"]] == [old.public_id]
    assert [one["public_id"] for one in api.get(first["next"]).data["results"]] == [failed.public_id]
    assert other.public_id not in str(page)
    assert "such as" in errors_of(api.get(path, {"since": "then"}))["?since"]


def test_what_was_before_a_subscription_is_not_missed(api):
    make_event_at(timezone.now() - timedelta(hours=1))
    subscription = make_subscription(created_at=timezone.now())
    assert api.get(f"/api/subscriptions/{subscription.public_id}/missed/").data["results"] == []


def test_a_cancelled_replay_of_another_state_is_filtered(api):
    running = make_replay()
    assert ids(api.get("/api/replays/?state=running")) == [running.public_id]
    assert ids(api.get(f"/api/replays/?subscription={running.subscription.public_id}")) == [running.public_id]
    assert ids(api.get("/api/replays/?state=done")) == []
