"""Counts and latencies of the data plane: batches add to plain numbers and arrays, a scrape reads them."""

import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

LATENCY_BOUNDS_SECONDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_FOLD_BATCHES = 64
_BOUNDS_US = np.array(LATENCY_BOUNDS_SECONDS) * 1e6


class Measures:
    """Of one version, since this replica loaded it. `requests` and `errors` count requests, `rows` predictions,
    `sampled_out` those of them that the log's sample left out."""

    def __init__(self, model_id: str, version: str) -> None:
        self.model_id = model_id
        self.version = version
        self.requests = 0
        self.rows = 0
        self.sampled_out = 0
        self.errors: dict[str, int] = {}
        self.batches = 0
        self._buckets = np.zeros(len(_BOUNDS_US) + 1, dtype=np.int64)
        self._sum_us = 0.0
        self._lock = threading.Lock()
        self._waiting: list[NDArray[np.uint32]] = []

    def answered(self, requests: int, latencies_us: NDArray[np.uint32]) -> None:
        """A batch of `requests` was answered; one latency a row."""
        self.requests += requests
        self.rows += len(latencies_us)
        self.batches += 1
        with self._lock:
            self._waiting.append(latencies_us)
            if len(self._waiting) >= _FOLD_BATCHES:
                self._fold()

    def _fold(self) -> None:
        """Sort waiting latencies into the buckets, many batches at once: NumPy's calls cost more than their work.

        The lock is held: a scrape comes from another thread.
        """
        if not self._waiting:
            return
        latencies_us = np.concatenate(self._waiting)
        self._waiting.clear()
        self._buckets += np.bincount(np.searchsorted(_BOUNDS_US, latencies_us), minlength=len(self._buckets))
        self._sum_us += float(latencies_us.sum(dtype=np.float64))

    def failed(self, code: str) -> None:
        """A request ended with the error `code`."""
        self.requests += 1
        self.errors[code] = self.errors.get(code, 0) + 1

    @property
    def error_count(self) -> int:
        """Requests that failed by the server's or the model's fault; a caller's bad input is not among them."""
        return sum(count for code, count in self.errors.items() if code != "invalid-input")

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound in seconds, as Prometheus wants them."""
        with self._lock:
            self._fold()
        names = [*(str(bound) for bound in LATENCY_BOUNDS_SECONDS), "+Inf"]
        return list(zip(names, np.cumsum(self._buckets).tolist(), strict=True))

    @property
    def sum_seconds(self) -> float:
        """The sum of all latencies."""
        with self._lock:
            self._fold()
        return self._sum_us / 1e6


class DataPlaneCollector(Collector):
    """Hands the measures of all loaded versions to Prometheus.

    `versions` gives (measures, queued rows, memory bytes or None) a version; `gauges` gives (name, help, value).
    """

    def __init__(
        self,
        versions: Callable[[], Iterable[tuple[Measures, int, int | None]]],
        gauges: Callable[[], Iterable[tuple[str, str, float]]],
    ) -> None:
        self._versions = versions
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        labels = ["model", "version"]
        latency = HistogramMetricFamily(
            "ml_prediction_latency_seconds", "From the parsed request to the answer, by prediction", labels=labels
        )
        predictions = CounterMetricFamily("ml_predictions", "Predictions answered", labels=labels)
        sampled_out = CounterMetricFamily(
            "ml_predictions_sampled_out",
            "Predictions answered, but left out of the log's sample",
            labels=labels,
        )
        batches = CounterMetricFamily("ml_batches", "Runs of the runtime", labels=labels)
        errors = CounterMetricFamily("ml_prediction_errors", "Requests that failed", labels=[*labels, "code"])
        memory = GaugeMetricFamily(
            "ml_model_memory_usage_bytes", "Resident memory that loading and warming the version took", labels=labels
        )
        queue = GaugeMetricFamily("ml_queue_rows", "Rows that wait for the runtime", labels=labels)
        for measures, queued, memory_bytes in self._versions():
            names = [measures.model_id, measures.version]
            latency.add_metric(names, measures.buckets(), measures.sum_seconds)
            predictions.add_metric(names, measures.rows)
            sampled_out.add_metric(names, measures.sampled_out)
            batches.add_metric(names, measures.batches)
            for code, count in measures.errors.items():
                errors.add_metric([*names, code], count)
            queue.add_metric(names, queued)
            if memory_bytes is not None:
                memory.add_metric(names, memory_bytes)
        yield from (latency, predictions, sampled_out, batches, errors, queue, memory)
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(name, text, value)
