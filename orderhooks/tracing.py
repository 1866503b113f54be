"""Tracing: spans of OpenTelemetry round publishing, routing and attempts, where a project has configured it.

An event keeps the trace of the process that published it, as a `traceparent` header: a worker goes on with it, and each
request takes it to the receiver. What fails here is logged, and fails nothing else.

Source: W3C Trace Context, 3.2 (traceparent); OpenTelemetry's semantic conventions of HTTP spans.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

try:
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True
    PROPAGATOR = TraceContextTextMapPropagator()

__all__ = ["LONGEST", "Span", "headers", "span", "trace_id", "traceparent"]

logger = logging.getLogger(__name__)

# Of a traceparent in version 00.
LONGEST = 55
HEADER = "traceparent"
Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has begun; nothing, if there is no tracing."""

    recorder: Any = None

    def set(self, attributes: Attributes) -> None:
        if self.recorder is not None:
            with _survive():
                self.recorder.set_attributes(dict(attributes))

    def fail(self, kind: str) -> None:
        """Mark it as failed. `kind`: of a small set of words, for `error.type`."""
        if self.recorder is not None:
            with _survive():
                self.recorder.set_attribute("error.type", kind)
                self.recorder.set_status(trace.StatusCode.ERROR)


@contextlib.contextmanager
def span(
    name: str, *, parent: str = "", attributes: Attributes | None = None, is_request: bool = False
) -> Iterator[Span]:
    """Run the block in a span below `parent`, a traceparent, or below the current span if it is blank."""
    recorder = token = None
    if (provider := _provider()) is not None:
        with _survive():
            above = PROPAGATOR.extract({HEADER: parent}) if parent else None
            kind = trace.SpanKind.CLIENT if is_request else trace.SpanKind.INTERNAL
            recorder = _tracer(provider).start_span(name, above, kind, attributes)
            token = context.attach(trace.set_span_in_context(recorder, above))
    try:
        yield Span(recorder)
    finally:
        with _survive():
            if token is not None:
                context.detach(token)
            if recorder is not None:
                recorder.end()


def headers() -> dict[str, str]:
    """The header that takes the current trace along; none if there is no trace."""
    carrier: dict[str, str] = {}
    if _provider() is not None:
        with _survive():
            PROPAGATOR.inject(carrier)
    # Without `tracestate`: it may hold what only the store's own systems are meant to read.
    return {HEADER: carrier[HEADER]} if len(carrier.get(HEADER, "")) == LONGEST else {}


def traceparent() -> str:
    """The current trace, or "". The default of an event's column."""
    return headers().get(HEADER, "")


def trace_id(parent: str) -> str:
    """The id of the trace that a traceparent belongs to: 32 hexadecimal digits, or "" without one."""
    return parent[3:35]


def _provider() -> Any:
    """What the project has configured; None if nothing: spans would cost time and never be recorded."""
    if IS_INSTALLED:
        with _survive():
            provider = trace.get_tracer_provider()
            return None if isinstance(provider, trace.ProxyTracerProvider) else provider
    return None


@functools.lru_cache(maxsize=1)
def _tracer(provider: Any) -> Any:
    return provider.get_tracer("orderhooks")


@contextlib.contextmanager
def _survive() -> Iterator[None]:
    """A sampler or an exporter of the project may raise anything."""
    try:
        yield
    except Exception:
        logger.exception("tracing failed")
