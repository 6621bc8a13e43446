"""What Prometheus is told of the models in memory; what is told of their predictions is in `measures.py`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class VersionFacts:
    """Of one version in memory. What is None is not known."""

    model_id: str
    version: str
    allocated_bytes: int | None
    load_seconds: float | None
    healthy: bool


@dataclass(frozen=True)
class PoolFacts:
    """Of a replica, since it started."""

    versions: list[VersionFacts]
    loads: int
    failed_loads: int
    waiting_loads: int
    unloaded_for_room: int
    limit_models: int
    limit_bytes: int
    checks: int
    failed_checks: int


class PoolCollector(Collector):
    """Hands what `facts` tells to Prometheus."""

    def __init__(self, facts: Callable[[], PoolFacts]) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        facts = self._facts()
        labels = ["model", "version"]
        healthy = GaugeMetricFamily("ml_model_healthy", "Whether the version passes its self-checks", labels=labels)
        allocated = GaugeMetricFamily(
            "ml_model_allocated_bytes", "What loading and warming the version took of the allocator", labels=labels
        )
        seconds = GaugeMetricFamily("ml_model_load_seconds", "How long loading the version took", labels=labels)
        for version in facts.versions:
            names = [version.model_id, version.version]
            healthy.add_metric(names, float(version.healthy))
            if version.allocated_bytes is not None:
                allocated.add_metric(names, version.allocated_bytes)
            if version.load_seconds is not None:
                seconds.add_metric(names, version.load_seconds)
        yield from (healthy, allocated, seconds)
        yield GaugeMetricFamily("ml_models_limit", "Models that may be in memory", facts.limit_models)
        yield GaugeMetricFamily("ml_model_bytes_limit", "Memory that all models may take", facts.limit_bytes)
        yield GaugeMetricFamily("ml_loads_waiting", "Loads that wait for their turn", facts.waiting_loads)
        yield CounterMetricFamily("ml_model_loads", "Versions loaded", facts.loads)
        yield CounterMetricFamily("ml_model_load_failures", "Versions that could not be loaded", facts.failed_loads)
        yield CounterMetricFamily("ml_model_evictions", "Models unloaded to make room", facts.unloaded_for_room)
        yield CounterMetricFamily("ml_self_checks", "Self-checks of versions", facts.checks)
        yield CounterMetricFamily("ml_self_check_failures", "Self-checks that failed", facts.failed_checks)
