"""Pages name the true cause: why something waits, was left out, was not sent, or did not arrive."""

import dataclasses
from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks import selection, versions
from orderhooks.admin.subscriptions import code_samples
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.reporting import Reason, SubscriptionOutcome, delivery_summary, subscription_outcome_text
from orderhooks.transport import certificates
from tests.admin.visits import page
from tests.factories import make_attempt, make_delivery, make_event, make_event_at, make_subscription, send_due

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def told(delivery: Delivery, **facts) -> str:
    return " ".join(delivery_summary.sentences(delivery, [], now=NOW, most=10, **facts))


def test_after_a_cool_down_the_endpoint_and_no_worker_is_waited_for():
    times = {"circuit_open_until": NOW - timedelta(minutes=5), "slow_start_limit": 1}
    subscription = Subscription(name="Warehouse", state="active", **times)
    delivery = Delivery(
        event=Event(), subscription=subscription, state="pending", next_attempt_at=NOW - timedelta(minutes=9)
    )
    assert "It waits for Warehouse to respond again (attempt 1 of 10): the endpoint was cooling down" in told(delivery)
    assert "no worker" not in told(delivery)


@pytest.mark.parametrize(
    ("state", "words"), [("failed", "which failed"), ("skipped", "which was skipped"), ("delivered", "which carries")]
)
def test_a_merged_update_says_what_became_of_its_carrier(state, words):
    carrier = Delivery(event=Event(public_id="evt_2"), state=state)
    subscription = Subscription(name="CRM", state="active")
    merged = Delivery(event=Event(), subscription=subscription, state="skipped", merges_from=1, finished_at=NOW)
    assert words in told(merged, carrier=carrier)
    outcome = SubscriptionOutcome(subscription, Reason.MERGED, merged, carrier=carrier)
    assert (words in subscription_outcome_text(outcome, now=NOW)) == (state != "delivered")


def test_what_waits_for_its_order_is_not_next(operator):
    subscription = make_subscription(ordered=True)
    make_delivery(event=make_event(), subscription=subscription, state="failed", last_error="timeout")
    waits = make_delivery(event=make_event(), subscription=subscription, last_detail="The former reason.")
    assert "after an earlier event of its order" in page(operator, "delivery/?state__exact=pending")
    assert "The former reason." not in page(operator, "dashboard/order/?number=1001")
    assert waits.blockers().exists()


def test_an_attempt_says_what_failed_and_whether_it_was_sent(operator):
    delivery = make_delivery(state="failed")
    make_attempt(delivery, status_code=200, error="handshake", url="http://127.0.0.1:9/asked")
    make_attempt(delivery, status_code=None, error="projection", url="http://127.0.0.1:9/never")
    text = page(operator, f"delivery/{delivery.pk}/change/")
    assert 'orderhooks-failed">handshake<' in text
    assert "http://127.0.0.1:9/asked" in text
    assert "http://127.0.0.1:9/never" not in text
    assert "No request was made to the endpoint." in text


def test_the_log_is_narrowed_to_a_kind_of_failure(operator):
    kinds = ("projection", "login", "timeout", "refused", "secret", "internal")
    for kind in kinds:
        make_delivery(state="failed", last_error=kind, subscription=make_subscription(name=f"of {kind}"))
    for chosen in kinds[1:]:
        text = page(operator, f"delivery/?failure={chosen}").partition('id="result_list"')[2].partition("</table>")[0]
        assert [kind for kind in kinds if f"of {kind}" in text] == [chosen]
    assert "?failure=handshake" in page(operator, "delivery/")


@pytest.mark.parametrize("signature", ["standard", "ed25519"])
def test_a_subscription_without_a_secret_says_so_until_it_gets_one(operator, signature):
    subscription = make_subscription(name="CRM")
    delivery = make_delivery(subscription=subscription)
    if signature == "standard":
        subscription.secrets.all().delete()
    Subscription.objects.update(signature=signature, last_success_at=NOW)
    send_due()
    text = page(operator, f"delivery/{delivery.pk}/change/")
    assert "CRM was not called: it has no secret to sign with" in text
    assert "Give the subscription a new secret" in text
    for address in (f"subscription/{subscription.pk}/change/", "dashboard/"):
        assert "Give the subscription a new secret" in page(operator, address)
    assert "some deliveries can’t be made" in page(operator, "subscription/")
    subscription.rotate_secret(now=NOW)
    assert "Give the subscription a new secret" not in page(operator, f"subscription/{subscription.pk}/change/")


def test_a_replay_says_what_the_filter_leaves_out(operator):
    for _ in range(2):
        make_event_at(NOW - timedelta(hours=1))
    subscription = make_subscription(filter="topic == 'x'")
    since = (NOW - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    form = {"subscription": subscription.pk, "since": since, "until": "", "only": "all"}
    text = operator.post("/admin/orderhooks/replay/add/", form).content.decode()
    assert "2 events are of that time" in text
    assert "filter or changed fields leave all of them out" in text


def test_orders_of_one_number_have_headings_with_their_stores(operator):
    make_subscription()
    for key, store in (("1", "north"), ("2", "south")):
        make_event(order_pk=key, store=store)
    text = page(operator, "dashboard/order/?number=1001")
    assert "<h2>Order 1001 of north</h2>" in text
    assert "<h2>Order 1001 of south</h2>" in text


def test_each_wrong_field_gets_a_suggestion_whatever_its_case():
    with pytest.raises(selection.FieldPatternError) as caught:
        selection.check_fields(["Status", "curency"])
    assert "Did you mean 'status'?" in str(caught.value)
    assert "Did you mean 'currency'?" in str(caught.value)


def test_a_version_that_events_were_made_in_is_registered_again():
    with pytest.raises(versions.VersionError, match="Register it again"):
        versions.convert({"api_version": "2999-01-01", "data": {}}, versions.newest())


def test_code_for_the_receiver_reads_what_the_projection_makes():
    for kind in ("standard", "form", "cloudevents_binary"):
        subscription = make_subscription(format=kind, projection="{number: data.order.number}")
        texts = [dataclasses.astuple(one)[-1] for one in code_samples.snippets_for(subscription)]
        assert texts
        assert [
            one for one in texts if "order]" in one or '"order"]' in one or ".order" in one or "'order'" in one
        ] == []


def test_names_of_certificates_have_no_line_breaks():
    assert certificates._printable("CN=a\nb\u202ec") == "CN=a\\nb\\u202ec"
