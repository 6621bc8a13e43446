"""What the monitor tells: drift by value, skew by schema, the fall in accuracy, and the rows to retrain on."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.events import (
    DriftFound,
    DriftOver,
    Label,
    LabelsObserved,
    PerformanceRestored,
    PerformanceWorse,
    SchemaSkewFound,
    SignalState,
)
from schemas.predictions import prediction_id
from services.kernel.storage.local import LocalStore
from tests.integration.monitor.harness import MODEL, VERSION, Monitor, batch


def of_kind(monitor: Monitor, kind: type[Any]) -> list[Any]:
    return [message for message in monitor.read("drift-signals") if isinstance(message, kind)]


def send_windows(monitor: Monitor, random: np.random.Generator, first: int, windows: int, **more: Any) -> int:
    monitor.publish([batch(random, first + i * 250, 250, **more) for i in range(windows * 4)])
    return first + windows * 1000


def test_drift_is_raised_once_named_explained_and_resolved(monitor: Monitor) -> None:
    random = np.random.default_rng(1)
    place = send_windows(monitor, random, 0, 4)
    monitor.wait(lambda: monitor.counted() == place, "the calm rows are counted")
    assert of_kind(monitor, DriftFound) == []
    place = send_windows(monitor, random, place, 3, shift=1.0)
    (found,) = monitor.wait(lambda: of_kind(monitor, DriftFound), "drift is found")
    assert found.state is SignalState.RAISED
    assert [score.feature for score in found.features] == ["amount"]
    assert found.features[0].debiased > 0.25
    assert found.features[0].expected < 0.05
    assert "amount: PSI" in found.explanation
    assert "expected under no drift 0.01 +- " in found.explanation
    assert "N = 5000" in found.explanation
    report = monitor.get(f"/mlops/models/{MODEL}/drift")
    assert report["drifting"]
    assert report["signal"]["features"] == ["amount"]
    send_windows(monitor, random, place, 4)
    (over,) = monitor.wait(lambda: of_kind(monitor, DriftOver), "drift is over")
    assert over.signal_id == found.signal_id
    assert len(of_kind(monitor, DriftFound)) == 1
    assert not of_kind(monitor, SchemaSkewFound)
    scores = httpx.get(monitor.url + "/metrics").text
    assert f'ml_feature_drift_score{{feature="amount",method="psi",model="{MODEL}",version="{VERSION}"}}' in scores
    assert "ml_system_cpu_usage_percent" in scores


def test_schema_skew_is_not_taken_for_drift(monitor: Monitor) -> None:
    random = np.random.default_rng(2)
    records = []
    for number in range(1100):
        record: dict[str, Any] = {
            "amount": random.normal(),
            "age": float(random.uniform(18, 80)),
            "country": str(random.choice(["at", "de", "fr"], p=[0.2, 0.5, 0.3])),
        }
        if number % 2:
            record["amount"] = "12,50"
        if number % 5 == 0:
            record["colour"] = "red"
        records.append({"model_id": MODEL, "version": VERSION, "input": record, "prediction": "good"})
    monitor.publish_json(records)
    found = monitor.wait(lambda: of_kind(monitor, SchemaSkewFound), "skew is found")
    named = {name for message in found for name in message.features}
    assert named == {"amount", "colour"}
    assert "retraining would not help" in found[0].explanation
    monitor.wait(lambda: monitor.counted() == 1100, "all are counted")
    assert of_kind(monitor, DriftFound) == []


def test_labels_that_come_late_or_early_tell_of_the_fall_in_accuracy(monitor: Monitor) -> None:
    random = np.random.default_rng(3)

    def labels(first: int, rows: int, wrong: int) -> LabelsObserved:
        told = ["bad"] * wrong + ["good"] * (rows - wrong)
        return LabelsObserved(
            model_id=MODEL,
            labels=tuple(
                Label(prediction_id=prediction_id("life-1", first + i), label=label) for i, label in enumerate(told)
            ),
        )

    monitor.publish([labels(0, 200, 10)])  # before the predictions
    monitor.wait(lambda: monitor.get("/mlops/monitor/status")["labels_waiting"] == 200, "labels wait")
    monitor.publish([batch(random, i * 200, 200) for i in range(4)])
    monitor.wait(lambda: _history(monitor) == [0.95], "the early labels are joined")
    assert of_kind(monitor, PerformanceWorse) == []
    monitor.publish([labels(200, 200, 80)])
    (worse,) = monitor.wait(lambda: of_kind(monitor, PerformanceWorse), "the fall is told")
    assert worse.state is SignalState.RAISED
    assert worse.value == 0.6
    assert worse.baseline_value == 0.95
    assert worse.interval[0] < 0.6 < worse.interval[1]
    answer = httpx.post(
        monitor.url + "/mlops/labels",
        json={"modelId": MODEL, "labels": [one.model_dump() for one in labels(400, 200, 10).labels]},
    )
    assert answer.status_code == 202
    monitor.wait(lambda: _history(monitor) == [0.95, 0.6, 0.95], "the third window")
    assert of_kind(monitor, PerformanceRestored) == [], "one good window is not enough"
    monitor.publish([labels(600, 200, 10)])
    (restored,) = monitor.wait(lambda: of_kind(monitor, PerformanceRestored), "the recovery is told")
    assert restored.signal_id == worse.signal_id
    assert _history(monitor) == [0.95, 0.6, 0.95, 0.95]


def test_labels_that_are_no_class_of_the_model_are_set_aside_and_counted(monitor: Monitor) -> None:
    random = np.random.default_rng(4)
    monitor.publish([batch(random, 0, 200)])
    names = ["martian"] * 50 + ["good"] * 150
    told = tuple(Label(prediction_id=prediction_id("life-1", i), label=name) for i, name in enumerate(names))
    monitor.publish([LabelsObserved(model_id=MODEL, labels=told)])

    def performance() -> dict[str, Any]:
        return dict(monitor.get(f"/mlops/models/{MODEL}/drift", version=VERSION)["performance"])

    monitor.wait(lambda: (performance()["current"] or {}).get("labelled_rows") == 150, "the rest is measured")
    assert performance()["current"]["value"] == 1.0
    assert (performance()["foreign_labels"], performance()["foreign_label_example"]) == (50, "martian")


def _history(monitor: Monitor) -> list[float]:
    report = monitor.get(f"/mlops/models/{MODEL}/drift", version=VERSION)
    return [window["value"] for window in report["performance"]["history"]]


def test_predictions_with_labels_are_exported_by_digest(monitor: Monitor) -> None:
    random = np.random.default_rng(4)
    sent = batch(random, 0, 300)
    monitor.publish([sent])
    monitor.publish_json(
        [
            {
                "model_id": MODEL,
                "version": VERSION,
                "prediction_id": "own",
                "input": {"amount": 2.5, "age": 30, "country": "at"},
            }
        ]
    )
    monitor.wait(lambda: monitor.counted() == 301, "rows are counted")
    route = f"{monitor.url}/mlops/models/{MODEL}/predictions/export"
    empty = httpx.post(route, json={"min_rows": 1}).json()
    assert empty == {"model_id": MODEL, "dataset": None, "digest": None, "rows": 0, "redacted": []}
    given = [{"prediction_id": prediction_id("life-1", i), "label": "bad"} for i in range(0, 300, 3)]
    given.append({"prediction_id": "own", "label": "good"})
    httpx.post(monitor.url + "/mlops/labels", json={"model_id": MODEL, "labels": given}).raise_for_status()
    few = httpx.post(route, json={"minRows": 102}).json()
    assert few["dataset"] is None
    done = monitor.wait(lambda: _exported(route, {"min_rows": 101}), "the labelled rows are exported")
    assert done["rows"] == 101
    assert done["dataset"] == f"artifact:datasets/{done['digest']}.parquet"
    store = LocalStore(monitor.settings.data_dir / "artifacts")
    table = pq.read_table(pa.BufferReader(store.get_bytes(f"datasets/{done['digest']}.parquet")))
    assert table.column_names == [
        *("amount", "age", "country"),
        *("label", "prediction_id", "prediction", "time", "version"),
    ]
    rows = {row["prediction_id"]: row for row in table.to_pylist()}
    amounts = sent.rows.column("x:amount").to_pylist()
    assert all(rows[prediction_id("life-1", i)]["amount"] == amounts[i] for i in range(0, 300, 3))
    assert rows["own"]["label"] == "good"
    assert rows["own"]["amount"] == 2.5
    assert httpx.post(route, json={"min_rows": 101}).json()["digest"] == done["digest"]
    every = httpx.post(route, json={"labelled_only": False}).json()
    assert every["rows"] == 301
    later = httpx.post(route, json={"since": "2100-01-01T00:00:00Z"}).json()
    assert later["rows"] == 0


def _exported(route: str, body: dict[str, Any]) -> dict[str, Any] | None:
    answer: dict[str, Any] = httpx.post(route, json=body).json()
    return answer if answer["dataset"] else None


def test_the_requirements_monitoring_document_is_taken_and_obeyed(monitor: Monitor) -> None:
    route = f"{monitor.url}/mlops/models/{MODEL}/monitoring"
    assert httpx.get(route).json()["revision"] == 0
    document = {
        "metricsPort": 9090,
        "collectInterval": 30,
        "driftDetection": {"enabled": True, "method": "wasserstein", "threshold": 0.2, "windowSize": 500},
        "performanceTracking": {"latencyThreshold": 1000, "errorRateThreshold": 5, "throughputThreshold": 100},
        "alerting": {
            "enabled": True,
            "channels": ["slack", "email"],
            "slackWebhook": "https://hooks.slack.com/services/secret",
        },
    }
    stored = httpx.put(route, json=document).json()
    assert stored["revision"] == 1
    assert stored["drift_detection"]["window_size"] == 500
    assert "secret" not in str(stored)
    assert any(note.startswith("alerting") for note in stored["notes"])
    assert httpx.get(route).json()["drift_detection"]["method"] == "wasserstein"
    random = np.random.default_rng(5)
    monitor.publish([batch(random, i * 250, 250, shift=1.0) for i in range(4)])
    (found,) = monitor.wait(lambda: of_kind(monitor, DriftFound), "drift is found")
    assert found.window.rows == 500
    assert found.features[0].method == "wasserstein"
    wrong = httpx.put(route, json={"driftDetection": {"method": "psi", "treshold": 1}})
    assert wrong.status_code == 422
    assert "treshold" in wrong.text


def test_a_window_closes_when_traffic_stops(make_monitor: Callable[..., Monitor]) -> None:
    monitor = make_monitor(monitor_window_max_seconds=1, monitor_window_min_rows=100)
    monitor.register()
    monitor.start()
    random = np.random.default_rng(6)
    monitor.publish([batch(random, 0, 300, shift=2.0)])
    (found,) = monitor.wait(lambda: of_kind(monitor, DriftFound), "the short window is judged")
    assert found.window.rows == 300


def test_an_unknown_model_is_a_problem_document(monitor: Monitor) -> None:
    answer = httpx.get(f"{monitor.url}/mlops/models/nobody/drift")
    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown-version"
    bad = httpx.post(monitor.url + "/mlops/labels", json={"model_id": MODEL, "prediction_id": "x"})
    assert bad.status_code == 422
