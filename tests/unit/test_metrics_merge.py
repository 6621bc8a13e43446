"""`services.kernel.metrics_merge`: nothing is lost, nothing is mixed up."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.kernel.metrics_merge import merge

SERVICES = ("registry", "serving")


def page(*, counts: dict[str, int], seconds: list[float]) -> str:
    registry = CollectorRegistry()
    counter = Counter("rows", "Rows seen.", ["model"], registry=registry)
    for model, count in counts.items():
        counter.labels(model).inc(count)
    histogram = Histogram("latency_seconds", "Time taken.", buckets=(0.1, 1.0), registry=registry)
    for second in seconds:
        histogram.observe(second)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


pages = st.builds(
    page,
    counts=st.dictionaries(st.text(max_size=8), st.integers(0, 1000), max_size=4),
    seconds=st.lists(st.floats(0, 5), max_size=4),
)


@given(pages, pages)
def test_every_sample_arrives_once_under_its_service(first: str, second: str) -> None:
    merged = samples(merge(dict(zip(SERVICES, (first, second), strict=True))).decode())
    expected = {
        (name, labels | {("service", service)}): value
        for service, text in zip(SERVICES, (first, second), strict=True)
        for (name, labels), value in samples(text).items()
    }
    expected |= {("trimtab_service_up", frozenset({("service", service)})): 1.0 for service in SERVICES}
    assert merged == expected


def test_a_family_is_declared_once() -> None:
    text = merge({name: page(counts={"m": 1}, seconds=[0.2]) for name in SERVICES}).decode()
    assert text.count("# TYPE rows_total counter") == 1
    assert text.count("# TYPE latency_seconds histogram") == 1


def test_a_silent_and_a_garbled_service_are_down_and_harm_nobody() -> None:
    text = merge({"registry": None, "loop": "rows{ 1", "serving": page(counts={"m": 2}, seconds=[])}).decode()
    up = {dict(labels)["service"]: value for (name, labels), value in samples(text).items() if "up" in name}
    assert up == {"registry": 0.0, "loop": 0.0, "serving": 1.0}
    assert 'rows_total{model="m",service="serving"} 2.0' in text


def test_a_label_called_service_is_kept_as_exported_service() -> None:
    registry = CollectorRegistry()
    Gauge("up_peers", "Peers.", ["service"], registry=registry).labels("trainer").set(1)
    text = merge({"loop": generate_latest(registry).decode()}).decode()
    assert 'up_peers{exported_service="trainer",service="loop"} 1.0' in text


def test_types_that_clash_become_untyped() -> None:
    text = merge({"loop": "# TYPE depth gauge\ndepth 1\n", "tuner": "# TYPE depth histogram\n"}).decode()
    assert "# TYPE depth untyped" in text
