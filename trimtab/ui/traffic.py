"""How busy serving is: its counters, looked at every second, kept in a short ring."""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.kernel.telemetry import get_logger
from trimtab.ui.settings import UiSettings

log = get_logger(__name__)

RECENT_SECONDS = 10.0
"""Rates and quantiles are over so much of the past."""

LATENCY = "ml_prediction_latency_seconds"


@dataclass
class Counters:
    """One model's counters at one moment. `buckets` are cumulative: upper bound in seconds -> count."""

    predictions: float = 0.0
    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True)
class Sample:
    """All models' counters; `at` is monotonic, in seconds."""

    at: float
    models: dict[str, Counters]


@dataclass(frozen=True)
class Traffic:
    """One model's traffic: predictions and errors a second now, latency quantiles in milliseconds, the rates so far.

    A quantile is None when nothing was predicted lately; it is the upper bound of its histogram bucket.
    """

    rate: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None
    rates: list[float]
    predictions: int


def read_counters(text: str) -> dict[str, Counters]:
    """The counters of every model in a Prometheus text page, versions added up."""
    models: dict[str, Counters] = defaultdict(Counters)
    for family in text_string_to_metric_families(text):
        if family.name not in (LATENCY, "ml_predictions", "ml_prediction_errors"):
            continue
        for sample in family.samples:
            counters = models[sample.labels.get("model", "")]
            if sample.name == "ml_predictions_total":
                counters.predictions += sample.value
            elif sample.name == "ml_prediction_errors_total":
                counters.errors += sample.value
            elif sample.name == f"{LATENCY}_bucket":
                counters.buckets[float(sample.labels["le"])] += sample.value
    return dict(models)


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """The upper bound of the bucket in which `share` (0..1) of the counts is reached; None without counts.

    >>> quantile({0.001: 90.0, 0.01: 100.0, float("inf"): 100.0}, 0.95)
    0.01
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    return next((bound for bound in bounds if buckets[bound] >= share * total), bounds[-1])


def traffic_of(samples: list[Sample], model_id: str) -> Traffic | None:
    """What the samples say about a model; None before there are two. A counter that fell was a restart: no rate."""
    known = [(sample.at, sample.models.get(model_id, Counters())) for sample in samples]
    if len(known) < 2:
        return None
    rates = [
        max(after.predictions - before.predictions, 0.0) / (later - earlier)
        for (earlier, before), (later, after) in pairwise(known)
        if later > earlier
    ]
    now, last = known[-1]
    recent = [(at, counters) for at, counters in known if at >= now - RECENT_SECONDS]
    begin, first = recent[0] if len(recent) > 1 else known[-2]
    seconds = max(now - begin, 1e-9)
    new = {bound: count - first.buckets.get(bound, 0.0) for bound, count in last.buckets.items()}
    p50, p99 = quantile(new, 0.5), quantile(new, 0.99)
    return Traffic(
        rate=max(last.predictions - first.predictions, 0.0) / seconds,
        error_rate=max(last.errors - first.errors, 0.0) / seconds,
        p50_ms=None if p50 is None else p50 * 1000,
        p99_ms=None if p99 is None else p99 * 1000,
        rates=rates,
        predictions=int(last.predictions),
    )


class Sampler:
    """A part of the page's process: looks at serving's `/metrics` again and again."""

    def __init__(self, settings: UiSettings, http: httpx.AsyncClient) -> None:
        self._url = f"{settings.url_of('serving')}/metrics"
        self._headers = (
            {"Authorization": f"Bearer {settings.internal_key.get_secret_value()}"} if settings.internal_key else {}
        )
        self._seconds = settings.ui_sample_seconds
        self._http = http
        self._samples: deque[Sample] = deque(maxlen=settings.ui_samples)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look, in the background."""
        self.task = asyncio.create_task(self._run(), name="traffic-sampler")

    async def stop(self) -> None:
        """Stop looking."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    def traffic(self, model_id: str) -> Traffic | None:
        """What is known of a model's traffic; None while serving is silent."""
        return traffic_of(list(self._samples), model_id)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                answer = await self._http.get(self._url, headers=self._headers)
                answer.raise_for_status()
                self._samples.append(Sample(loop.time(), read_counters(answer.text)))
            except (httpx.HTTPError, ValueError) as error:
                self._samples.clear()
                log.debug("serving_metrics_not_read", error=repr(error))
            await asyncio.sleep(self._seconds)
