"""Several processes' Prometheus metrics as one page, told apart by a label, `service` as a rule.

Text exposition format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/. Such a label that a
sample already has is kept as `exported_service`, as Prometheus itself does when labels clash.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

LABEL = "service"


def merge(pages: Mapping[str, str | None], label: str = LABEL) -> bytes:
    """The merged page of `pages`, the process's name -> its own page; None: it did not answer.

    A page that cannot be parsed counts as no answer. `trimtab_<label>_up` tells, per process, 1 or 0. A
    family that two processes declare with different types is passed on untyped. Linear in the number of
    samples.
    """
    families: dict[str, Metric] = {}
    text = f"Whether the {label}'s metrics could be read."
    up = GaugeMetricFamily(f"trimtab_{label}_up", text, labels=[label])
    for name, page in pages.items():
        found = _parse(page)
        up.add_metric([name], 0.0 if found is None else 1.0)
        for family in found or ():
            _add(families, family, label, name)
    registry = CollectorRegistry()
    registry.register(_Families([up, *families.values()]))
    return generate_latest(registry)


def _parse(page: str | None) -> list[Metric] | None:
    if page is None:
        return None
    try:
        return list(text_string_to_metric_families(page))
    except ValueError:
        return None


def _add(families: dict[str, Metric], family: Metric, label: str, name: str) -> None:
    merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
    if merged.type != family.type:
        merged.type = "unknown"
    for sample in family.samples:
        labels = dict(sample.labels)
        if label in labels:
            labels[f"exported_{label}"] = labels.pop(label)
        merged.samples.append(Sample(sample.name, {label: name, **labels}, sample.value, sample.timestamp))


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return []  # nothing to check against: the names were checked where they were made
