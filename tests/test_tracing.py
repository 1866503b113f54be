"""The trace of the request that saved an order goes on into the worker and to the receiver."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult

from orderhooks import outbox, routing, tracing
from orderhooks.models import Delivery, Event
from orderhooks.outbox import left_behind
from tests.factories import make_order, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)
EXPORTER = InMemorySpanExporter()
FAILING = "a sampler that fails"


class SometimesFailing(Sampler):
    """As one of a project may fail."""

    is_failing = False

    def should_sample(self, *arguments: Any, **options: Any) -> SamplingResult:
        if self.is_failing:
            raise RuntimeError(FAILING)
        return ALWAYS_ON.should_sample(*arguments, **options)

    def get_description(self) -> str:
        return FAILING


SAMPLER = SometimesFailing()


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """What records the spans of a test. Not the process's own provider, which no other test could take back."""
    provider = TracerProvider(sampler=SAMPLER)
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    EXPORTER.clear()


@contextlib.contextmanager
def request() -> Iterator[str]:
    """The shop's request, as an instrumented web process has it. Its trace's id."""
    with trace.get_tracer("shop").start_as_current_span("POST /checkout") as span:
        yield format(span.get_span_context().trace_id, "032x")


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in EXPORTER.get_finished_spans() if span.name == name]


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format(span.context.span_id, "016x")


def parent_id(span: ReadableSpan) -> str:
    assert span.parent is not None
    return format(span.parent.span_id, "016x")


def deliver() -> None:
    routing.route(now=timezone.now())
    send_due()


def test_a_trace_goes_from_the_shops_request_to_the_receiver(receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    with request() as trace_id, transaction.atomic():
        make_order()
    deliver()
    [publish], [route], [attempt] = (spans(f"orderhooks {name}") for name in ("publish", "route", "attempt"))
    event = Event.objects.get()
    assert event.traceparent[:-2] == f"00-{trace_id}-{span_id(publish)}-"
    assert parent_id(route) == parent_id(attempt) == span_id(publish)
    assert receiver.received[0].headers["traceparent"][:-2] == f"00-{trace_id}-{span_id(attempt)}-"
    assert attempt.attributes is not None
    assert attempt.attributes["http.response.status_code"] == 200
    assert attempt.attributes["orderhooks.topic"] == "order.created"
    assert attempt.status.is_unset
    # As the log shows it.
    kept = Delivery.objects.get().attempts.get().request_headers
    assert kept["traceparent"] == receiver.received[0].headers["traceparent"]


def test_a_trace_goes_on_in_the_worker_that_makes_the_event(receiver: RecordingReceiver, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription(url=receiver.url, topics=["order.created"])
    of_requests = []
    for _ in range(left_behind.FEW + 1):
        with request() as trace_id, transaction.atomic():
            make_order()
        of_requests.append(trace_id)
    outbox.coalesce_left_behind(now=timezone.now())
    assert [tracing.trace_id(event.traceparent) for event in Event.objects.order_by("sequence")] == of_requests
    assert [span_id(span) for span in spans("orderhooks publish")] == [
        event.traceparent.split("-")[2] for event in Event.objects.order_by("sequence")
    ]


@pytest.mark.by_hand
def test_a_traced_event_costs_no_query_of_its_own(receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])

    def queries_to_route(orders: int) -> int:
        for _ in range(orders):
            make_order()
        with CaptureQueriesContext(connection) as captured:
            routing.route(now=timezone.now())
        return len(captured)

    assert queries_to_route(4) == queries_to_route(1)
    assert len(spans("orderhooks route")) >= 5


def test_a_failed_attempt_says_how_it_failed(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda _count: Answer(503, b"busy")
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    deliver()
    [attempt] = spans("orderhooks attempt")
    assert attempt.attributes is not None
    assert (attempt.attributes["error.type"], attempt.attributes["http.response.status_code"]) == ("status", 503)
    assert not attempt.status.is_ok
    assert attempt.status.status_code is trace.StatusCode.ERROR


def test_spans_hold_no_secret_and_nothing_of_the_order(receiver: RecordingReceiver) -> None:
    subscription = make_subscription(url=f"{receiver.url}?token=s3cr3t", topics=["order.created"])
    subscription.headers = {"X-Key": "s3cr3t"}
    subscription.save()
    make_order(customer_name="Ada Lovelace", customer_email="ada@example.com")
    deliver()
    assert len(receiver.received) == 1
    text = "".join(span.to_json() for span in EXPORTER.get_finished_spans())
    assert not re.search("s3cr3t|Ada|ada@", text)


def test_a_tracer_that_fails_keeps_nothing_from_arriving(
    receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    monkeypatch.setattr(SAMPLER, "is_failing", True)
    make_order()
    deliver()
    assert len(receiver.received) == 1
    assert FAILING in caplog.text


def test_a_provider_that_can_not_be_loaded_keeps_nothing_from_arriving(
    receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("OTEL_PYTHON_TRACER_PROVIDER names nothing")

    monkeypatch.setattr(trace, "get_tracer_provider", fail)
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    deliver()
    assert len(receiver.received) == 1
    assert "names nothing" in caplog.text


def test_an_error_inside_a_span_is_raised_and_ends_it() -> None:
    with pytest.raises(KeyError), tracing.span("orderhooks publish"):
        raise KeyError
    assert len(spans("orderhooks publish")) == 1
    assert tracing.headers() == {}


def test_without_the_package_nothing_is_traced(receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "IS_INSTALLED", False)
    make_subscription(url=receiver.url, topics=["order.created"])
    with request(), transaction.atomic():
        make_order()
    deliver()
    assert Event.objects.get().traceparent == ""
    assert "traceparent" not in receiver.received[0].headers
    assert [span.name for span in EXPORTER.get_finished_spans()] == ["POST /checkout"]


@pytest.mark.parametrize("stored", ["", "00-zz", "ff-" + "0" * 52])
def test_an_event_without_a_trace_is_sent_in_one_of_its_own(receiver: RecordingReceiver, stored: str) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    Event.objects.update(traceparent=stored)
    deliver()
    [attempt] = spans("orderhooks attempt")
    assert attempt.parent is None
    assert span_id(attempt) in receiver.received[0].headers["traceparent"]


def test_a_subscription_has_no_traceparent_of_its_own() -> None:
    with pytest.raises(ValidationError, match="is set by orderhooks itself"):
        make_subscription(headers={"Traceparent": "x"})


def test_without_a_provider_nothing_is_traced(receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    Event.objects.update(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    deliver()
    assert "traceparent" not in receiver.received[0].headers
