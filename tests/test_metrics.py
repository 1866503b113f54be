"""The metrics: what is counted, that counters only grow, who may read them, and what Prometheus makes of them."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from orderhooks import retention, tasks
from orderhooks.health import measures, probes
from orderhooks.health.metrics import MEASURES
from orderhooks.models import AttemptStats, Delivery, MetricTotal, Pump
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.tasks.names import SWEEP_SCHEDULE
from orderhooks.transport import Outcome
from tests.factories import (
    cutoffs_at,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_failed_event,
    make_order,
    make_subscription,
    make_user,
)
from tests.receivers import Answer, RecordingReceiver

NOW = datetime(2026, 11, 23, 10, 17, 5, 123, tzinfo=UTC)
TOKEN = "a-token-that-is-long-enough"
Labels = frozenset[tuple[str, str]]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    MEASURES.forget()
    probes.BROKER.forget()
    yield
    MEASURES.forget()
    probes.BROKER.forget()


@pytest.fixture
def scrape(settings, transactional_db, monkeypatch) -> Callable[[], dict[tuple[str, Labels], float]]:
    # The look at the broker may outlast a scrape, and SQLite in memory has locks that nobody waits for.
    monkeypatch.setattr(probes.BROKER, "look", lambda: True)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "METRICS_TOKEN": TOKEN}

    def read() -> dict[tuple[str, Labels], float]:
        MEASURES.forget()
        response = Client().get("/health/metrics/", headers={"authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200, response.content
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(response.content.decode())
            for sample in family.samples
        }

    return read


def labels(**given: str) -> Labels:
    return frozenset(given.items())


def written(*attempts: tuple[Delivery, Outcome], started_at: datetime | None = None) -> None:
    stats = StatsBuffer()
    for delivery, outcome in attempts:
        stats.add(delivery, outcome, now=NOW, started_at=started_at)
    stats.write()


@pytest.mark.parametrize(
    ("token", "header", "status"),
    [
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, f"bearer  {TOKEN} ", 200),
        (TOKEN, f"Bearer {TOKEN}x", 401),
        (TOKEN, f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, "Bearer ", 401),
        (TOKEN, "Bearer schlüssel", 401),
        (TOKEN, f"Basic {TOKEN}", 401),
        (TOKEN, None, 401),
        ("", "Bearer ", 401),
        ("", "Bearer", 401),
        ("", None, 401),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_stranger_needs_the_token(settings, token: str, header: str | None, status: int) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "METRICS_TOKEN": token}
    extra = {} if header is None else {"HTTP_AUTHORIZATION": header.encode().decode("latin-1")}
    response = Client().get("/health/metrics/", **extra)  # type: ignore[arg-type]
    assert response.status_code == status
    assert response["cache-control"] == "no-store"
    assert (b"orderhooks_waiting" in response.content) is (status == 200)
    assert ("www-authenticate" in response) is (status == 401)


@pytest.mark.parametrize(
    ("granted", "stores", "status"),
    [
        (["view_delivery"], "", 200),
        ([], "", 403),
        (["view_subscription"], "", 403),
        (["view_delivery"], "tests.test_metrics.only_one_store", 403),
        (["view_delivery", "manage_all_subscriptions"], "tests.test_metrics.only_one_store", 200),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_user_needs_the_right_to_see_deliveries_of_all_stores(settings, granted, stores: str, status: int) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": stores}
    client = Client()
    client.force_login(make_user(*granted))
    assert client.get("/health/metrics/").status_code == status
    # A wrong token is not made good by a session.
    assert client.get("/health/metrics/", headers={"authorization": "Bearer nonsense"}).status_code == 401


def only_one_store(_user: object) -> list[str]:
    return ["north"]


class TestExposition:
    def test_what_a_worker_did_is_in_it(self, scrape, receiver: RecordingReceiver) -> None:
        receiver.answer = lambda count: Answer(200 if count < 3 else 500)
        make_subscription(url=receiver.url, topics=["order.created"])
        for _ in range(3):
            make_order()
        tasks.pump()
        found = scrape()
        created = {"topic": "order.created"}
        assert found["orderhooks_attempts_total", labels(**created, outcome="2xx")] == 2
        assert found["orderhooks_attempts_total", labels(**created, outcome="5xx")] == 1
        assert found["orderhooks_deliveries_ended_total", labels(**created, state="delivered")] == 2
        assert found["orderhooks_deliveries_ended_total", labels(**created, state="failed")] == 0
        assert found["orderhooks_first_attempt_delay_seconds_count", labels(**created)] == 3
        assert found["orderhooks_attempt_duration_seconds_count", labels(**created, outcome="2xx")] == 2
        assert found["orderhooks_waiting", labels(what="deliveries")] == 1
        assert found["orderhooks_subscriptions", labels(state="active")] == 1
        assert found["orderhooks_subscriptions_failing", labels()] == 1
        assert 0 <= found["orderhooks_pump_seen_seconds_ago", labels()] < 60
        assert found["orderhooks_broker_up", labels()] == 1

    def test_counters_never_go_down_whatever_is_pruned(self, scrape) -> None:
        subscription = make_subscription()
        written((make_delivery(subscription=subscription, state="delivered"), Outcome(status_code=200)))
        make_attempt_stats(subscription, at=timezone.now() - timedelta(days=400))
        before = scrape()
        while retention.prune(before=cutoffs_at(timezone.now() + timedelta(days=1))):
            pass
        subscription.delete()
        assert not AttemptStats.objects.exists()
        after = scrape()
        growing = {key: value for key, value in before.items() if key[0].endswith(("_total", "_count", "_bucket"))}
        assert len(growing) > 10
        assert {key: after[key] for key in growing} == growing

    def test_several_workers_are_added_up(self, scrape, in_a_thread) -> None:
        delivery = make_delivery()
        delivery.event.topic, delivery.subscription.pk  # noqa: B018 - read once, here

        def work() -> None:
            for _ in range(5):
                written(*[(delivery, Outcome(status_code=200, duration_ms=ms)) for ms in (1, 20)])

        threads = [in_a_thread(work) for _ in range(1 if connection.vendor == "sqlite" else 4)]
        for thread in threads:
            thread.join(20)
        total = scrape()["orderhooks_attempts_total", labels(topic="order.paid", outcome="2xx")]
        assert total == 10 * len(threads)

    def test_histograms_are_cumulative_and_add_up(self, scrape) -> None:
        delivery = make_delivery()
        written(*[(delivery, Outcome(status_code=200, duration_ms=ms)) for ms in (5, 10, 11, 40_000)])
        # Of a release with other bounds.
        MetricTotal.objects.create(
            metric="attempt", topic="order.paid", outcome="2xx", up_to_ms=15, count=2, total_ms=24
        )
        found = scrape()
        buckets = {
            dict(key[1])["le"]: value for key, value in found.items() if key[0].endswith("duration_seconds_bucket")
        }
        values = list(buckets.values())
        assert (buckets["0.01"], buckets["0.025"], buckets["30.0"], buckets["+Inf"]) == (2, 5, 5, 6)
        assert values == sorted(values)
        of = labels(topic="order.paid", outcome="2xx")
        assert found["orderhooks_attempt_duration_seconds_count", of] == 6
        assert found["orderhooks_attempt_duration_seconds_sum", of] == pytest.approx(40.05)

    def test_openmetrics_is_given_to_those_that_accept_it(self, scrape) -> None:
        written((make_delivery(attempts_made=1), Outcome(status_code=200)), started_at=timezone.now())
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        response = Client().get("/health/metrics/", headers={"authorization": f"Bearer {TOKEN}", "accept": accept})
        assert response["content-type"].startswith("application/openmetrics-text")
        names = {family.name for family in parse_openmetrics(response.content.decode())}
        assert {"orderhooks_attempts", "orderhooks_waiting", "orderhooks_first_attempt_delay_seconds"} <= names

    @pytest.mark.parametrize("accept", ["text/plain;version=zz", "application/openmetrics-text;version=1.x", ";;="])
    def test_a_version_that_is_not_a_number_is_no_error(self, scrape, accept: str) -> None:
        response = Client().get("/health/metrics/", headers={"authorization": f"Bearer {TOKEN}", "accept": accept})
        assert response.status_code == 200
        assert b"orderhooks_waiting" in response.content

    def test_no_label_names_an_endpoint_an_order_or_a_person(self, scrape) -> None:
        subscription = make_subscription(
            name="Secret CRM", url="https://crm.example.com/hook", contact_email="ada@example.com", store="north"
        )
        delivery = make_delivery(subscription=subscription, event=make_event(order_number="N-4711", store="north"))
        written((delivery, Outcome(status_code=200)), started_at=NOW)
        text = str(sorted(scrape(), key=str))
        for private in ("CRM", "crm.example", "ada@", "4711", "north", subscription.public_id, delivery.public_id):
            assert private not in text

    def test_the_queries_do_not_grow(self, transactional_db) -> None:
        def count() -> int:
            with CaptureQueriesContext(connection) as captured:
                measures.measure()
            return len(captured)

        few = count()
        for _ in range(5):
            make_delivery()
            make_failed_event()
        assert (few, count()) == (16, 16)

    def test_a_database_that_fails_is_a_scrape_that_fails(self, scrape, monkeypatch, caplog) -> None:
        def fail() -> measures.Measures:
            raise DatabaseError("gone")

        monkeypatch.setattr(MEASURES, "look", fail)
        response = Client().get("/health/metrics/", headers={"authorization": f"Bearer {TOKEN}"})
        assert (response.status_code, b"gone" in response.content) == (503, False)
        # Django would mail it to ADMINS, once for each scrape.
        assert [one for one in caplog.records if one.name == "django.request"] == []

    def test_without_the_package_it_says_what_to_install(self, scrape, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "orderhooks.health.exposition", None)
        response = Client().get("/health/metrics/", headers={"authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 501
        assert b"pip install 'orderhooks[metrics]'" in response.content


class TestGauges:
    def test_nothing_waits_and_no_pump_was_ever_seen(self, scrape) -> None:
        found = scrape()
        assert found["orderhooks_pump_seen_seconds_ago", labels()] == float("inf")
        for name in ("oldest_waiting_seconds", "oldest_due_seconds", "circuits_open", "events_unpublished"):
            assert found[f"orderhooks_{name}", labels()] == 0
        for what in ("deliveries", "events", "changes"):
            assert found["orderhooks_waiting", labels(what=what)] == 0

    def test_what_waits_is_counted(self, scrape) -> None:
        now = timezone.now()
        for state in ("active", "disabled", "paused", "paused"):
            make_subscription(state=state)
        make_subscription(circuit_open_until=now + timedelta(hours=1), failing_since=now)
        make_event(routed_at=None, published_at=now - timedelta(seconds=50))
        make_failed_event()
        Pump.objects.create(beat_at=now - timedelta(seconds=40), ended=True)
        found = scrape()
        assert found["orderhooks_waiting", labels(what="events")] == 1
        assert found["orderhooks_oldest_due_seconds", labels()] >= 50, "new events too"
        assert found["orderhooks_events_unpublished", labels()] == 1
        assert found["orderhooks_circuits_open", labels()] == 1
        assert found["orderhooks_subscriptions", labels(state="paused")] == 2
        assert found["orderhooks_subscriptions", labels(state="active")] == 2
        assert 40 <= found["orderhooks_pump_seen_seconds_ago", labels()] < 100

    @pytest.mark.parametrize(
        ("subscription", "delivery", "is_due"),
        [
            ({}, {}, True),
            ({}, {"trigger": "manual"}, True),
            ({"state": "paused"}, {}, False),
            ({"state": "disabled"}, {}, False),
            ({"circuit_open_until": timezone.now() + timedelta(hours=1)}, {}, False),
            ({"circuit_open_until": timezone.now() - timedelta(hours=1)}, {}, True),
            ({"ordered": True}, {}, False),
            ({}, {"next_attempt_at": timezone.now() + timedelta(hours=1)}, False),
            ({}, {"state": "delivered"}, False),
        ],
    )
    def test_what_a_worker_could_send_is_due(self, transactional_db, subscription, delivery, is_due: bool) -> None:
        since = timezone.now() - timedelta(minutes=10)
        make_delivery(subscription=make_subscription(**subscription), **{"next_attempt_at": since, **delivery})
        assert measures.oldest_due_at(now=timezone.now()) == (since if is_due else None)

    def test_the_sweep(self, scrape) -> None:
        from django_q.models import Schedule

        tasks.register_sweep()
        Schedule.objects.filter(name=SWEEP_SCHEDULE).update(next_run=timezone.now() - timedelta(minutes=5))
        assert 300 <= scrape()["orderhooks_sweep_overdue_seconds", labels()] < 400
        Schedule.objects.all().delete()
        assert ("orderhooks_sweep_overdue_seconds", labels()) not in scrape(), "it is switched off"


class TestObjectives:
    def test_subscriptions_with_an_objective_have_series_by_their_public_ids(self, scrape) -> None:
        make_subscription(name="Without")
        subscription = make_subscription(name="Secret CRM", objective_seconds=60)
        make_delivery(subscription=subscription, due_by=timezone.now() - timedelta(minutes=20))
        found = scrape()
        of = {"subscription": subscription.public_id}
        assert found["orderhooks_objectives", labels()] == 1
        assert found["orderhooks_objective_burn_rate", labels(**of, window="1h")] == 100
        assert found["orderhooks_objective_burn_rate", labels(**of, window="5m")] == 0
        assert found["orderhooks_objective_missed", labels(**of, window="30m")] == 1
        assert found["orderhooks_objective_attainment_ratio", labels(**of, window="30d")] == 0
        assert ("orderhooks_objective_attainment_ratio", labels(**of, window="5m")) not in found, "none was due"
        assert found["orderhooks_objective_budget_left_ratio", labels(**of)] == 0
        named = {value for _name, some in found for label, value in some if label == "subscription"}
        assert named == {subscription.public_id}

    def test_no_more_than_a_bound(self, scrape, monkeypatch) -> None:
        monkeypatch.setattr(measures, "MOST_OBJECTIVES", 2)
        chosen = [make_subscription(objective_seconds=60).public_id for _ in range(3)]
        found = scrape()
        named = {dict(some)["subscription"] for name, some in found if name == "orderhooks_objective_budget_left_ratio"}
        assert (named, found["orderhooks_objectives", labels()]) == ({*chosen[:2]}, 3)
