"""Exposition: the measures in the formats of Prometheus. The only module that uses prometheus-client (extra `metrics`).

Labels are bounded: a topic of the catalogue or `other`, an outcome's kind, a state; and the public ids of at most
MOST_OBJECTIVES subscriptions that have an objective. No name or URL of anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

import orderhooks
from orderhooks.health.measures import Measures, Total
from orderhooks.models import MetricTotal
from orderhooks.models.metric_totals import DELAYS, DURATIONS, ENDED
from orderhooks.reporting.objectives import BURN_WINDOWS

__all__ = ["exposed", "families"]

Kinds = MetricTotal.Metric
Totals = Mapping[tuple[str, str], Total]
# Never seen, or as good as: alerts that compare fire.
NEVER = float("inf")


def exposed(measures: Measures, *, broker_is_up: bool, accept: str = "") -> tuple[bytes, str]:
    """The body, and its content type, in the format that the request's header Accept asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(lambda: families(measures, broker_is_up=broker_is_up)))
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # A version in it that is not a number: the client library fails at it.
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def families(measures: Measures, *, broker_is_up: bool) -> Iterator[Metric]:
    """Every metric with its samples."""
    yield from _counters(measures.totals)
    yield from _gauges(measures, broker_is_up=broker_is_up)
    yield from _objectives(measures)


def _counters(totals: Mapping[str, Totals]) -> Iterator[Metric]:
    attempts = totals[Kinds.ATTEMPT]
    yield _counter("attempts", "Attempts, by topic and kind of outcome; tests left out.", attempts, "topic", "outcome")
    yield _histogram(
        "attempt_duration_seconds",
        "How long attempts took, from the DNS query to the end of the response.",
        attempts,
        DURATIONS,
        "topic",
        "outcome",
    )
    yield _counter(
        "deliveries_ended",
        "Deliveries that an attempt ended: delivered, or given up after the last attempt (failed).",
        _with_zeros(totals[Kinds.ENDED], {topic for topic, _outcome in attempts}),
        "topic",
        "state",
    )
    yield _histogram(
        "first_attempt_delay_seconds",
        "From the change of an order to the beginning of the first attempt; replays left out.",
        totals[Kinds.FIRST_ATTEMPT],
        DELAYS,
        "topic",
    )
    lost = CounterMetricFamily(
        "orderhooks_capture_failures", "Changes of orders that were saved and could not be captured: no event was made."
    )
    lost.add_metric([], sum(total.count for total in totals[Kinds.CAPTURE_FAILURE].values()))
    yield lost


def _with_zeros(ended: Totals, topics: Iterable[str]) -> Totals:
    """Both states of each topic that was ever sent: Prometheus sees no increase in a series that begins with 1."""
    return {**{(topic, state): Total() for topic in topics for state in ENDED}, **ended}


def _counter(name: str, text: str, totals: Totals, *labels: str) -> Metric:
    family = CounterMetricFamily(f"orderhooks_{name}", text, labels=labels)
    for values, total in sorted(totals.items()):
        family.add_metric(values[: len(labels)], total.count)
    return family


def _histogram(name: str, text: str, totals: Totals, bounds: Sequence[int], *labels: str) -> Metric:
    family = HistogramMetricFamily(f"orderhooks_{name}", text, labels=labels)
    for values, total in sorted(totals.items()):
        # What was counted by other bounds, of another release, is in the first bucket that has it all.
        buckets = [
            (str(bound / 1000), sum(count for up_to, count in total.buckets.items() if up_to <= bound))
            for bound in bounds
        ]
        family.add_metric(values[: len(labels)], [*buckets, ("+Inf", total.count)], total.total_ms / 1000)
    return family


def _gauges(measures: Measures, *, broker_is_up: bool) -> Iterator[Metric]:
    yield _gauge("waiting", "What waits to be sent, held deliveries too. At most 100001.", measures.waiting, "what")
    yield _gauge(
        "oldest_waiting_seconds",
        "For how long the oldest of what waits has waited, held deliveries and retries too.",
        measures.oldest_waiting or 0.0,
    )
    yield _gauge(
        "oldest_due_seconds",
        "For how long what a worker could send has been due: nothing that is held, that cools down, or is ordered.",
        measures.oldest_due or 0.0,
    )
    yield _gauge("events_unpublished", "Events whose payload could not be built.", measures.unpublished)
    yield _gauge("subscriptions", "Subscriptions, by state.", measures.subscriptions, "state")
    yield _gauge("subscriptions_failing", "Active subscriptions whose last attempts failed.", measures.failing)
    yield _gauge("circuits_open", "Active subscriptions that are cooling down.", measures.circuits_open)
    since_pump = NEVER if measures.since_pump is None else measures.since_pump
    yield _gauge("pump_seen_seconds_ago", "Since a worker's pump was seen; +Inf: none ever was.", since_pump)
    if measures.sweep_overdue is not None:
        yield _gauge("sweep_overdue_seconds", "For how long the sweep is overdue.", measures.sweep_overdue)
    yield _gauge("broker_up", "Whether the queue's broker responds to the scraped process.", int(broker_is_up))
    info = GaugeMetricFamily("orderhooks_build_info", "The release that is scraped.", labels=["version"])
    info.add_metric([orderhooks.__version__], 1)
    yield info


def _objectives(measures: Measures) -> Iterator[Metric]:
    yield _gauge("objectives", "Subscriptions with an objective; at most 50 have series.", measures.with_objective)
    share = GaugeMetricFamily(
        "orderhooks_objective_attainment_ratio",
        "Share of the window's deliveries that arrived in time; absent if none was due.",
        labels=["subscription", "window"],
    )
    left = GaugeMetricFamily(
        "orderhooks_objective_budget_left_ratio", "Error budget of 30 days that is left.", labels=["subscription"]
    )
    rate = GaugeMetricFamily(
        "orderhooks_objective_burn_rate",
        "How many times faster than allowed the error budget was used in the window.",
        labels=["subscription", "window"],
    )
    missed = GaugeMetricFamily(
        "orderhooks_objective_missed", "Deliveries of the window that were late.", labels=["subscription", "window"]
    )
    for key, one in measures.objectives.items():
        left.add_metric([key], one.budget_left)
        for window, counts in one.counts.items():
            missed.add_metric([key, window], counts.missed)
            if (attained := counts.attainment()) is not None:
                share.add_metric([key, window], attained)
            if window in BURN_WINDOWS:
                rate.add_metric([key, window], one.burn_rate(window))
    yield from (share, left, rate, missed)


def _gauge(name: str, text: str, value: float | Mapping[str, int], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"orderhooks_{name}", text, labels=labels)
    for key, number in value.items() if isinstance(value, Mapping) else [("", value)]:
        family.add_metric([key] if labels else [], number)
    return family
