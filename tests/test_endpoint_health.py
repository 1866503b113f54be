"""How an endpoint is, in sentences that admin, API and commands share: the longest truth first, then what to do."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orderhooks import reporting, transport
from orderhooks.models import CaptureFailure, Change, Delivery, Event, Subscription
from orderhooks.reporting import Backlog, Worker, delivery_summary, endpoint_health
from orderhooks.transport.outcomes import NEXT_STEPS, STATUS_STEPS
from tests.factories import make_order, make_subscription, make_worker

NOW = datetime(2026, 11, 24, 3, 11, 26, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FAILING = {
    "failing_since": datetime(2026, 11, 24, 2, 40, tzinfo=UTC),
    "consecutive_failures": 12,
    "last_failure": "The endpoint responded with 503; only 2xx is success.",
    "last_failure_at": datetime(2026, 11, 24, 3, 11, tzinfo=UTC),
    "last_failure_kind": "status",
    "last_failure_status": 503,
}
COOLING = {**FAILING, "circuit_open_until": NOW + timedelta(seconds=34)}
DEADLINE = "Unless an attempt succeeds, it will be disabled at Nov. 29, 2026, 2:40 a.m., in 4 d 23 h."
REMEDY = STATUS_STEPS[503]


def endpoint(**fields: Any) -> Subscription:
    return Subscription(**{"name": "dead", "state": "active", **fields})


REPORTS = [
    ({}, None, "active"),
    (
        FAILING,
        [
            "Failing since 2:40 a.m. (31 min, 12 attempts in a row).",
            "It responded with 503 at 3:11 a.m..",
            DEADLINE,
            REMEDY,
        ],
        "failing for 31 min",
    ),
    (
        COOLING,
        [
            "Failing since 2:40 a.m. (31 min, 12 attempts in a row).",
            "It responded with 503 at 3:11 a.m..",
            "Nothing is sent to it until 3:12 a.m., in 34 s: it is cooling down. Then one request tries it.",
            DEADLINE,
            REMEDY,
        ],
        "failing for 31 min, cooling down for 34 s more",
    ),
    (
        {**FAILING, "failing_since": NOW - timedelta(days=6)},
        [
            "Failing since Nov. 18, 2026, 3:11 a.m. (6 d 0 h, 12 attempts in a row).",
            "It responded with 503 at 3:11 a.m..",
            "The next attempt that fails disables it.",
            REMEDY,
        ],
        "failing for 6 d 0 h",
    ),
    (
        {"state": "disabled", "state_reason": "It responded with 410 Gone.", **FAILING},
        [
            "Disabled: nothing is sent to it, and its deliveries are kept.",
            "It responded with 410 Gone.",
            "Have the receiver fixed, send a test, then resume the subscription.",
        ],
        "disabled",
    ),
    (
        {"state": "paused", **COOLING},
        [
            "Paused by an operator: nothing is sent to it, and its deliveries are kept.",
            "Resume the subscription once the receiver is ready.",
        ],
        "paused",
    ),
]


@pytest.mark.parametrize(("fields", "sentences", "short"), REPORTS)
def test_the_longest_truth_comes_first(fields: dict[str, Any], sentences: list[str] | None, short: str) -> None:
    found = endpoint_health.report(endpoint(**fields), now=NOW)
    expected = sentences and [sentence.replace("a.m..", "a.m.") for sentence in sentences]
    assert (found.sentences() if found else None) == expected
    assert endpoint_health.short_text(endpoint(**fields), now=NOW) == short


AUTHORIZATION_SERVER = (
    "No access token from auth.example: It responded with 500. Ask the people who run the authorization server. It is"
    " tried again automatically."
)
LOGIN_PAGE = (
    "The endpoint responded with 302; only 2xx is success."
    f" {transport.next_step('status', 302, location='https://shop.example/login?next=/hooks/')}"
)
OWN_REMEDIES = [
    {"last_failure": AUTHORIZATION_SERVER, "last_failure_kind": "login", "last_failure_status": None},
    {"last_failure": LOGIN_PAGE, "last_failure_kind": "status", "last_failure_status": 302},
]


@pytest.mark.parametrize("fields", OWN_REMEDIES, ids=["authorization server", "login page"])
def test_the_error_says_what_to_do_where_its_kind_would_say_something_else(fields: dict[str, Any]) -> None:
    found = endpoint_health.report(endpoint(**{**FAILING, **fields}), now=NOW)

    assert found is not None
    assert found.response == f"At 3:11 a.m.: {fields['last_failure']}"
    assert found.remedy == ""


def test_a_refused_login_is_described_in_short_with_what_to_do() -> None:
    step = NEXT_STEPS["login"]
    refused = {"last_failure": f"The endpoint refused the certificate. {step}", "last_failure_kind": "login"}

    found = endpoint_health.report(endpoint(**{**FAILING, **refused, "last_failure_status": None}), now=NOW)

    assert found is not None
    assert (found.response, found.remedy) == ("It could not be logged in to at 3:11 a.m.", step)


def test_a_time_that_is_reached_is_not_called_a_wait() -> None:
    report = endpoint_health.report(endpoint(circuit_open_until=NOW + timedelta(seconds=0.4)), now=NOW)
    assert report is not None
    assert report.pause == "It has cooled down: one request tries it next."


HELD = [
    (COOLING, "Waits until 3:12 a.m. because dead responded with 503 at 3:11 a.m.; failing since 2:40 a.m."),
    (
        {**COOLING, "last_failure_kind": "timeout", "last_failure_status": None},
        "Waits until 3:12 a.m. because dead did not respond in time at 3:11 a.m.; failing since 2:40 a.m.",
    ),
    ({"circuit_open_until": NOW + MINUTE}, "Waits until 3:12 a.m. because dead was overloaded or away."),
    (FAILING, ""),
    ({}, ""),
]


@pytest.mark.parametrize(("fields", "expected"), HELD)
def test_one_sentence_says_why_a_delivery_is_held(fields: dict[str, Any], expected: str) -> None:
    assert endpoint_health.held_text(endpoint(**fields), now=NOW) == expected


def test_a_deliverys_summary_holds_that_sentence() -> None:
    subscription, event = endpoint(**COOLING), Event(sequence=1, order_number="1042", public_id="evt_1")
    delivery = Delivery(event=event, subscription=subscription, next_attempt_at=NOW - 19 * MINUTE)
    told = " ".join(delivery_summary.sentences(delivery, [], now=NOW, most=10))
    assert endpoint_health.held_text(subscription, now=NOW) in told


STEPS = [
    (("status", 304, ""), "must not get 304"),
    (("status", 302, "https://crm.example.com/accounts/login/?next=/hook"), "leads to a login page"),
    (("status", 302, "/login?next=%2Fhook"), "leads to a login page"),
    (("status", 303, "https://crm.example.com/users/sign_in"), "leads to a login page"),
    (("status", 301, "https://crm.example.com/webhooks/"), "Change the URL to the address that it leads to"),
    (("status", 301, "https://crm.example.com/catalogue/login-page-designs"), "Change the URL to the address"),
    (("status", 307, ""), "Change the URL to the address that it leads to"),
    (("status", 401, ""), '"Authorization"'),
    # What `orderhooks.receiver` responds to a signature by another secret.
    (("status", 401, ""), "signing secret"),
    (("status", 403, ""), "signing secret"),
    (("status", 404, ""), "path of the URL"),
    (("status", 405, ""), "does not accept POST there"),
    (("status", 429, ""), "requests a second"),
    (("status", 418, ""), "what its log says"),
    (("dns", None, ""), "host name"),
    (("unheard-of", None, ""), "worker's log"),
]


@pytest.mark.parametrize(("answer", "words"), STEPS)
def test_the_next_step_fits_the_response(answer: tuple[str, int | None, str], words: str) -> None:
    kind, status, location = answer
    assert words in transport.next_step(kind, status, location=location)


def test_every_kind_of_failure_has_a_next_step_and_words() -> None:
    assert {*endpoint_health.OUTCOMES, "status"} == set(NEXT_STEPS)


WAITING = [
    ((0, 0, 0), "Nothing waits to be sent."),
    ((1, 0, 0), "1 delivery waits to be sent, the oldest for 4 min."),
    ((2, 1, 0), "2 deliveries and 1 new event wait to be sent, the oldest for 4 min."),
    ((10_001, 2, 3), "10,000+ deliveries, 2 new events and 3 new changes wait to be sent, the oldest for 4 min."),
]


@pytest.mark.parametrize(("counts", "expected"), WAITING)
def test_what_waits_is_reported_with_its_age(counts: tuple[int, int, int], expected: str) -> None:
    waiting, unrouted, uncoalesced = counts
    backlog = Backlog(waiting, None, unrouted, uncoalesced, NOW - 4 * MINUTE)
    assert reporting.backlog_text(backlog, now=NOW) == expected


START = "Start `manage.py qcluster`; if one runs and does nothing, restart it."
BUSY = Backlog(3, None, 0, 0, NOW - 4 * MINUTE)
WORKERS = [
    (make_worker(True, NOW, NOW), BUSY, []),
    (make_worker(False, NOW - MINUTE, None), BUSY, []),
    (make_worker(False, None, None), None, [f"No worker has ever been seen. {START}"]),
    (
        make_worker(False, NOW - 5 * MINUTE, NOW - 5 * MINUTE),
        BUSY,
        [
            "No worker has been seen for 5 min. 3 deliveries wait to be sent, the oldest for 4 min. " + START,
            "The sweep, which starts a worker each minute, has been due for 5 min. " + START,
        ],
    ),
]


@pytest.mark.parametrize(("worker", "waiting", "expected"), WORKERS)
def test_a_missing_worker_is_the_first_thing_to_say(worker: Worker, waiting: Any, expected: list[str]) -> None:
    assert reporting.worker_problems(worker, now=NOW, waiting=waiting) == expected


def make_change() -> None:
    Change.objects.create(transaction_id=uuid.uuid4(), source="orderhooks", kind=Change.Kind.UPDATED)


def make_failure() -> None:
    CaptureFailure.objects.record(source="orderhooks", order_pk="", error="KeyError: 'total'")


@pytest.mark.django_db
def test_an_order_without_events_is_known_or_not() -> None:
    make_order(number="1001")
    assert reporting.order_without_events_text("99999") == "No order 99999 was found."
    assert reporting.order_without_events_text("1001").startswith("Order 1001 was found. There is no subscription")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("sources", "make", "why"),
    [
        ([], None, "No order is watched: ORDERHOOKS['SOURCES'] is empty or wrong."),
        (["nowhere.Orders"], None, "No order is watched: ORDERHOOKS['SOURCES'] is empty or wrong."),
        (["tests.shapes.sources.UuidOrder"], None, "Its changes are not captured: no source in ORDERHOOKS"),
        (None, None, "There is no subscription, so nothing that happens to orders is written down."),
        (None, make_subscription, "No event about it is kept: nothing that is watched has changed since"),
        (None, make_change, "A change of it is saved, and no worker has made an event of it yet."),
        (None, make_failure, "A change of it could not be captured."),
    ],
)
def test_why_there_is_no_event_of_an_order(settings, sources: Any, make: Any, why: str) -> None:
    if sources is not None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": sources}
    order = make_order(number="1001")
    if make:
        make_subscription()
        make()
    Change.objects.update(order_pk=str(order.pk))
    CaptureFailure.objects.update(order_pk=str(order.pk))
    Event.objects.all().delete()
    assert reporting.order_has_no_events_text(order).startswith(why)
    said = reporting.order_without_events_text("1001")
    if sources is None:
        assert said.startswith(f"Order 1001 was found. {why}")
    else:
        assert said.startswith("No order 1001 was found." if "UuidOrder" in str(sources) else why)


@pytest.mark.django_db
def test_a_request_that_failed_leaves_its_kind_and_status() -> None:
    subscription = make_subscription()
    subscription.record_failure(now=NOW, detail="The endpoint responded with 503.", kind="status", status=503)
    subscription.save()
    subscription.refresh_from_db()
    assert (subscription.last_failure_kind, subscription.last_failure_status) == ("status", 503)


STANDINGS = [
    ({}, {"next_attempt_at": NOW - 19 * MINUTE}, "waiting", "due since 2:52 a.m.: a worker sends it next"),
    ({}, {"next_attempt_at": NOW + 4 * MINUTE}, "waiting", "next try in 4 min, at 3:15 a.m."),
    (COOLING, {"next_attempt_at": NOW - 19 * MINUTE}, "waiting", HELD[0][1]),
    (COOLING, {"next_attempt_at": NOW + 4 * MINUTE}, "waiting", "next try in 4 min, at 3:15 a.m."),
    (COOLING, {"next_attempt_at": NOW, "trigger": "manual"}, "waiting", "due since 3:11 a.m.: a worker sends it next"),
    ({"state": "paused"}, {}, "paused", "held: the subscription is paused"),
    ({}, None, "not_routed", "waiting for a worker to take it up"),
    ({}, None, "topic", "topic not wanted"),
]


@pytest.mark.parametrize(("fields", "delivery", "reason", "expected"), STANDINGS)
def test_why_an_event_did_not_arrive_reads_the_same_everywhere(
    fields: dict[str, Any], delivery: dict[str, Any] | None, reason: str, expected: str
) -> None:
    owed = None if delivery is None else Delivery(**delivery)
    one = reporting.SubscriptionOutcome(endpoint(**fields), reporting.Reason(reason), owed)
    assert reporting.subscription_outcome_text(one, now=NOW) == expected
