"""What Prometheus is told of the way from a request to its answer: queues, circuits, fallbacks, shadows, the cache."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.serving.asking import Asking
from services.serving.served import ServedVersion


class RoutingCollector(Collector):
    """`versions` gives every version in memory."""

    def __init__(self, versions: Callable[[], Iterable[ServedVersion]], asking: Asking) -> None:
        self._versions = versions
        self._asking = asking

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        labels = ["model", "version"]
        dropped = CounterMetricFamily(
            "ml_queue_dropped_requests", "Requests that nobody waited for any more", labels=labels
        )
        displaced = CounterMetricFamily(
            "ml_queue_displaced_requests", "Requests that lost their place to one of higher priority", labels=labels
        )
        is_open = GaugeMetricFamily("ml_circuit_open", "1 while the version's circuit is not closed", labels=labels)
        opened = CounterMetricFamily("ml_circuit_openings", "How often the circuit opened", labels=labels)
        for served in self._versions():
            names = [served.model_id, served.version]
            dropped.add_metric(names, served.batcher.queue.dropped)
            displaced.add_metric(names, served.batcher.queue.displaced)
            if served.breaker is not None:
                is_open.add_metric(names, served.breaker.state != "closed")
                opened.add_metric(names, served.breaker.opened)
        fallbacks = CounterMetricFamily("ml_fallbacks", "Answers by something else", labels=["model", "by"])
        for (model_id, by), count in list(self._asking.fell_back.items()):
            fallbacks.add_metric([model_id, by], count)
        yield from (dropped, displaced, is_open, opened, fallbacks)
        yield GaugeMetricFamily(
            "ml_shadow_skipped", "Requests that the shadow did not see", self._asking.shadows.skipped
        )
        yield from self._cache()

    def _cache(self) -> Iterator[Metric]:
        if self._asking.cache is None:
            return
        counts = self._asking.cache.counts
        yield CounterMetricFamily("ml_prediction_cache_hits", "Predictions answered from the cache", counts.hits)
        yield CounterMetricFamily("ml_prediction_cache_misses", "Predictions looked for in vain", counts.misses)
        yield CounterMetricFamily("ml_prediction_cache_errors", "Uses of the cache that failed", counts.errors)
        yield CounterMetricFamily("ml_prediction_cache_evicted", "Entries that made room", counts.evicted)
        yield GaugeMetricFamily("ml_prediction_cache_entries", "Entries in this process", counts.entries)
        yield GaugeMetricFamily("ml_prediction_cache_bytes", "Memory that the cache takes here", counts.bytes)
        yield GaugeMetricFamily("ml_prediction_cache_limit_bytes", "Memory that it may take", counts.limit_bytes)
