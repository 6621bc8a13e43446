"""What a process says about itself: JSON logs, Prometheus metrics, OpenTelemetry traces.

Logs are one JSON line an event on standard error: `{"time", "level", "service", "event", ...}`. Spans go to an OTLP
collector when one is set; without one the trace ids still flow through HTTP and Kafka.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


class JsonFormatter(logging.Formatter):
    """One JSON object a record; the `facts` given to `Logger` methods become members."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = format(span.trace_id, "032x")
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = repr(record.exc_info[1])
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str)


class Logger:
    """`log.info("partition_paused", topic=..., seconds=...)`: an event name and its facts."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _log(self, level: int, event: str, facts: dict[str, Any], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"facts": facts}, exc_info=exc_info)

    def debug(self, event: str, **facts: Any) -> None:
        """For a developer."""
        self._log(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """Something happened as it should."""
        self._log(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Something a person may want to look at."""
        self._log(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Something is broken."""
        self._log(logging.ERROR, event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """Something is broken, with the traceback of the exception being handled."""
        self._log(logging.ERROR, event, facts, exc_info=True)


def get_logger(name: str) -> Logger:
    """A logger of events; nothing is configured here."""
    return Logger(name)


def log_as_json(service: str, level: str) -> None:
    """Send this process's logs to standard error as JSON lines. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "botocore", "boto3", "urllib3", "httpx", "httpcore", "uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def trace_to(service: str, otlp_endpoint: str | None) -> None:
    """Set up this process's traces, once. Without an endpoint spans are made, so that ids flow, and not exported."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"trimtab-{service}"}))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{otlp_endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)


@cache
def tracer() -> trace.Tracer:
    """The tracer of this project; before `trace_to` one that waits for it."""
    return trace.get_tracer("trimtab")


def current_traceparent() -> str | None:
    """The W3C `traceparent` of the current span, or None outside of one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def context_of(traceparent: str | None) -> Any:
    """The OpenTelemetry context to continue a trace in; an invalid or absent `traceparent` starts a new one."""
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {})
