"""Counts and latencies of the data plane: batches add to plain numbers and arrays, a scrape reads them."""

import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
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
_FOLD_RUNS = 8 * 256  # eight numbers a run
_BOUNDS_US = np.array(LATENCY_BOUNDS_SECONDS) * 1e6
_MOST_LISTED_ROWS = 1024


class RunTimes(msgspec.Struct, gc=False):
    """Of one batch, `time.perf_counter()`: when it was taken from the queue, when its run began and ended, and when its
    outputs were read."""

    taken: float
    began: float = 0.0
    ended: float = 0.0
    read: float = 0.0


@dataclass(frozen=True)
class BatchMeasures:
    """Runs of one number of rows, and the seconds that they spent on input, in the runtime, and on output."""

    rows: int
    runs: int
    input_seconds: float
    infer_seconds: float
    output_seconds: float


@dataclass(frozen=True)
class StageMeasures:
    """Seconds of all answered requests together, by stage; each request of a batch counts the whole batch's time. What
    the cache answered is counted apart.

    `total` is from the parsed request to the outputs read, `queue` from the place in the queue to the start of the
    batch, `input` until the runtime is called, `infer` in the runtime, `output` from there until the outputs are read;
    what writing the log takes is in none of them. `failed` is from the parsed request to the error. Batches of more
    than 1,024 rows are not in `by_rows`.
    """

    answered: int
    cached: int
    cached_seconds: float
    failures: int
    total_seconds: float
    failed_seconds: float
    queue_seconds: float
    input_seconds: float
    infer_seconds: float
    output_seconds: float
    last_at: float | None
    """When the last batch was answered, seconds of the Unix epoch."""
    by_rows: tuple[BatchMeasures, ...]


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
        self.cache_hits = 0
        self.cache_misses = 0
        self._cached_seconds = 0.0
        self._runs = array("d")
        self._answered = 0
        self._stage_seconds = np.zeros(5)  # total, queue, input, infer, output
        self._failed_seconds = 0.0
        self._last = 0.0
        self._by_rows = np.zeros((_MOST_LISTED_ROWS + 1, 4))  # runs, and seconds of input, infer, output

    def answered(
        self, requests: int, latencies_us: NDArray[np.uint32], times: RunTimes, started: float, queued: float
    ) -> None:
        """A batch of `requests` was answered; one latency a row. `started` and `queued` are the sums of the moments
        (`time.perf_counter()`) at which its requests were parsed and put into the queue."""
        rows = len(latencies_us)
        self.requests += requests
        self.rows += rows
        self.batches += 1
        runs = self._runs
        runs.extend((requests, rows, started, queued, times.taken, times.began, times.ended, times.read))
        if len(runs) >= _FOLD_RUNS:
            self._fold_runs()
        self._note_latencies(latencies_us)

    def repeated(self, requests: int, latencies_us: NDArray[np.uint32]) -> None:
        """`requests` were answered from the cache, without a run."""
        self.cache_hits += requests
        self._cached_seconds += requests * float(latencies_us[0]) / 1e6
        self.requests += requests
        self.rows += len(latencies_us)
        self._note_latencies(latencies_us)

    def _note_latencies(self, latencies_us: NDArray[np.uint32]) -> None:
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

    def _fold_runs(self) -> None:
        """Add waiting runs to the sums. On the event loop alone."""
        if not self._runs:
            return
        requests, rows, started, queued, taken, began, ended, read = np.array(self._runs).reshape(-1, 8).T
        del self._runs[:]
        stages = np.stack((began - taken, ended - began, read - ended))
        self._answered += int(requests.sum())
        self._stage_seconds[0] += (requests * read - started).sum()
        self._stage_seconds[1] += (requests * taken - queued).sum()
        self._stage_seconds[2:] += stages @ requests
        self._last = float(read[-1])
        places = np.where(rows <= _MOST_LISTED_ROWS, rows, 0).astype(np.intp)
        np.add.at(self._by_rows, places, np.vstack((np.ones(len(rows)), stages)).T)

    def stages(self) -> StageMeasures:
        """Where the time of the requests went. On the event loop."""
        self._fold_runs()
        total, queue, input_, infer, output = self._stage_seconds.tolist()
        listed = np.flatnonzero(self._by_rows[1:, 0]) + 1
        return StageMeasures(
            answered=self._answered,
            cached=self.cache_hits,
            cached_seconds=self._cached_seconds,
            failures=sum(self.errors.values()),
            total_seconds=total,
            failed_seconds=self._failed_seconds,
            queue_seconds=queue,
            input_seconds=input_,
            infer_seconds=infer,
            output_seconds=output,
            last_at=time.time() - (time.perf_counter() - self._last) if self._answered else None,
            by_rows=tuple(
                BatchMeasures(int(r), int(n), *times) for r in listed for n, *times in [self._by_rows[r].tolist()]
            ),
        )

    def failed(self, code: str, seconds: float = 0.0) -> None:
        """A request ended with the error `code`, so many seconds after it was parsed."""
        self.requests += 1
        self._failed_seconds += seconds
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
