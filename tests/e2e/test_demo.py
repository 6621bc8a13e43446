"""The story, played for real: what it told, and what stands when it is over."""

import json
from datetime import datetime

import pytest

from services.kernel.artifacts import blob_key
from tests.e2e.conftest import Demo
from trimtab import Client
from trimtab.demo.plan import MODEL_ID
from trimtab.demo.story import EXPECTED_CHAIN

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("demo")]

STEPS = ["start", "train", "deploy", "calm", "shift", "heal", "after", "chain"]


def test_every_step_was_verified_in_order(demo: Demo) -> None:
    assert [line["step"] for line in demo.lines if line["event"] == "done"] == STEPS
    assert not [line for line in demo.lines if line["event"] == "failed"]


def test_the_accuracy_falls_and_recovers(demo: Demo) -> None:
    result = demo.line("result")
    assert result["accuracy_before"] > 0.97
    assert result["accuracy_during"] < 0.85
    assert result["accuracy_after"] > 0.93
    assert 0 < result["seconds_to_signal"] < result["seconds_to_healed"]
    before, during, after = result["table"]
    assert (before["answered_by"], during["answered_by"]) == (result["champion"], result["champion"])
    assert after["answered_by"] == result["challenger"] != result["champion"]
    assert before["rows"] + during["rows"] + after["rows"] <= 5_192 + 22_544


def test_the_signal_names_features_of_the_data(demo: Demo) -> None:
    with Client(demo.url) as client:
        signature = client.version(MODEL_ID, demo.line("result")["champion"])["signature"]
    features = {feature["name"] for feature in signature["inputs"]} | {"prediction", "prediction_score"}
    assert set(demo.line("result")["drifted_features"]) <= features


def test_the_chain_goes_from_the_signal_to_the_rollout(demo: Demo) -> None:
    events = demo.line("result")["events"]
    ids = {event["id"] for event in events}
    assert set(EXPECTED_CHAIN) <= {event["type"] for event in events}
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    causes = [event["causation_id"] for event in events if event["causation_id"]]
    assert len(causes) >= 8
    assert set(causes) <= ids
    steps = [event["step"] for event in events if event["type"] == "trimtab.loop.stepped.v1"]
    assert steps == ["noticed", "gathering", "training", "proving", "canary", "rolling_out", "promoted"]


def test_why_tells_the_same_chain(demo: Demo) -> None:
    kafka = demo.line("kept")["kafka"]
    told = demo.trimtab("why", MODEL_ID, "--kafka", kafka)
    assert told["version"] == demo.line("result")["challenger"]
    assert [event["id"] for event in told["events"]] == [event["id"] for event in demo.line("result")["events"]]


def test_the_commands_show_what_stands(demo: Demo) -> None:
    challenger = demo.line("result")["challenger"]
    (model,) = [m for m in demo.trimtab("models", "list")["models"] if m["model_id"] == MODEL_ID]
    assert model["production"]["version"] == challenger
    assert {job["state"] for job in demo.trimtab("jobs")["jobs"]} == {"succeeded"}
    assert demo.trimtab("loop", "status", MODEL_ID)["serving_version"] == challenger
    assert demo.trimtab("drift", MODEL_ID)["version"] == challenger
    assert demo.trimtab("dlq", "list", "--kafka", demo.line("kept")["kafka"])["letters"] == []
    doctor = demo.trimtab("doctor")
    assert doctor["healthy"], doctor


def test_a_model_file_is_registered_from_the_command_line(demo: Demo) -> None:
    with Client(demo.url) as client:
        version = client.version(MODEL_ID, demo.line("result")["champion"])
    [sha256] = [file["sha256"] for file in version["files"] if file["path"] == "model.onnx"]
    graph = demo.folder / "copy.onnx"
    graph.write_bytes((demo.folder / "artifacts" / blob_key(sha256)).read_bytes())
    about = demo.folder / "about.json"
    about.write_text(json.dumps({"classes": version["signature"]["classes"], "metrics": {"accuracy": 0.9}}))
    told = demo.trimtab("models", "register", str(graph), "--model-id", "a-copy", "--metadata", str(about))
    assert (told["model_id"], told["stage"], told["metrics"]) == ("a-copy", "draft", {"accuracy": 0.9})
    assert len(told["signature"]["inputs"]) == 41
    assert told["content_digest"] == version["content_digest"]


def test_a_file_of_rows_is_predicted_and_labelled(demo: Demo) -> None:
    rows = demo.folder / "few.csv"
    lines = (demo.folder / "demo" / "calm.csv").read_text().splitlines()
    rows.write_text("\n".join(lines[:21]) + "\n")
    told = demo.trimtab("predict", MODEL_ID, "--file", str(rows))
    assert told["rows"] == 20
    labels = demo.folder / "labels.csv"
    sent = [f"{answer['prediction_id']},{answer['prediction']}" for answer in told["predictions"]]
    labels.write_text("prediction_id,label\n" + "\n".join(sent) + "\n")
    assert demo.trimtab("labels", "send", MODEL_ID, str(labels))["sent"] == 20
