"""What an edge device tells becomes a batch of the prediction log, or is refused by name."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from schemas.edge import MAX_SEQUENCE, EdgeUpload, incarnation_prefix
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import PredictionBatch
from schemas.serving_options import LogPolicy
from services.kernel.errors import InvalidInput, TooLarge
from services.serving.edge.rows import EdgeForm, skewed_rows
from services.serving.edge.uploads import pieces_of, read_upload
from services.serving.inputs import Malformed
from services.serving.redaction import Tokens
from tests.serving_models import NUMBER, TABLE

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROW = {
    "time": "2026-06-01T11:59:00.123456Z",
    "input": {"duration": 0.5, "service": "http", "count": 3, "src-bytes": None},
    "prediction": "dos",
    "probabilities": [0.25, 0.5, 0.25],
    "latency_us": 321,
    "flags": {"duration": "range"},
}
IMAGE = Signature(
    inputs=(Feature(name="image", dtype=DType.FLOAT32, shape=(2000,)), Feature(name="age", dtype=DType.FLOAT32)),
    outputs=(Output(name="y", dtype=DType.FLOAT32, role=OutputRole.VALUE),),
)


def document(**changes: Any) -> dict[str, Any]:
    """An upload of one row, as JSON."""
    about = {
        "model_id": "threats",
        "version": "1.0.0",
        "manifest_digest": "a" * 64,
        "signature_digest": "b" * 64,
        "replica": "gate-7",
        "incarnation": incarnation_prefix("threats") + "0123456789abcdef",
        "first_sequence": 10,
        "sent_at": "2026-06-01T12:00:00Z",
        "rows": [ROW],
    }
    return {**about, **changes}


def upload(**changes: Any) -> EdgeUpload:
    return read_upload(json.dumps(document(**changes)).encode(), 1000)


def batch(signature: Signature = TABLE, policy: LogPolicy | None = None, **changes: Any) -> PredictionBatch:
    """As the broker's readers see it."""
    form = EdgeForm(signature, (policy or LogPolicy()).redact, Tokens(b"key"), 100)
    return PredictionBatch.decode(form.batch(upload(**changes)).encode())


def test_rows_arrive_as_they_were_told() -> None:
    failed = {**ROW, "prediction": None, "probabilities": None, "error": "model-failed", "flags": {}}
    later = {**ROW, "time": "2026-06-01T11:59:30Z", "flags": {}, "prediction": "probe"}
    gaps = [{"first_sequence": 4, "rows": 2, "reason": "budget"}, {"firstSequence": 6, "rows": 4, "reason": "x"}]
    told = batch(rows=[ROW, failed, later], gaps=gaps, refused={"count": 3})
    assert (told.model_id, told.replica, told.first_sequence) == ("threats", "edge.gate-7", 10)
    assert told.prediction_ids()[2] == f"{incarnation_prefix('threats')}0123456789abcdef-12"
    assert [(gap.first_sequence, gap.rows) for gap in told.gaps] == [(4, 2), (6, 4)]
    assert told.skew == {"count": 3, "duration": 1}
    rows = told.rows.to_pylist()
    assert [row["route"] for row in rows] == ["edge"] * 3
    assert [row["error"] for row in rows] == [None, "model-failed", None]
    assert [row["y:label"] for row in rows] == ["dos", None, "probe"]
    assert [row["y:score"] for row in rows] == [0.5, None, 0.25]
    assert rows[0]["y:probabilities"] == [0.25, 0.5, 0.25]
    assert rows[0]["time"] == datetime(2026, 6, 1, 11, 59, 0, 123456, tzinfo=UTC)
    assert rows[2]["time"] == datetime(2026, 6, 1, 11, 59, 30, tzinfo=UTC)
    assert (rows[0]["x:service"], rows[0]["x:count"], rows[0]["latency_us"]) == ("http", 3, 321)
    assert np.isnan(rows[0]["x:src-bytes"])
    assert [row["flags"] for row in rows] == ["duration:range", None, None]


def test_gaps_may_come_alone() -> None:
    told = batch(rows=[], gaps=[{"first_sequence": 4, "rows": 6, "reason": "budget"}])
    assert (told.rows.num_rows, told.first_sequence, len(told.gaps)) == (0, 10, 1)


def test_numbers_and_summaries() -> None:
    row = {**ROW, "input": {"a": 1, "b": 2.5}, "prediction": 3.5, "probabilities": None, "flags": {}}
    told = batch(NUMBER, rows=[row, {**row, "prediction": None}])
    assert told.rows.column("y:value").to_pylist()[0] == 3.5
    assert np.isnan(told.rows.column("y:value").to_pylist()[1])
    four = {"mean": 1.5, "std": 0.5, "min": 1, "max": None}
    told = batch(IMAGE, rows=[{**row, "input": {"image": four, "age": 3}}])
    image = told.rows.column("x:image").to_pylist()[0]
    assert (image["mean"], image["min"], np.isnan(image["max"])) == (1.5, 1.0, True)
    for wrong in (None, [1.0] * 2000, {"mean": 1}, {**four, "std": "x"}, {**four, "std": True}, {**four, "std": 1e39}):
        with pytest.raises(InvalidInput, match="image"):
            batch(IMAGE, rows=[{**row, "input": {"image": wrong, "age": 3}}])


def test_redacted_features_do_not_reach_the_topic() -> None:
    policy = LogPolicy(redact={"service": "hash", "duration": "drop"})
    told = batch(policy=policy)
    assert told.redacted == ("duration", "service")
    assert "x:duration" not in told.rows.schema.names
    token = told.rows.column("x:service").to_pylist()[0]
    assert token != "http"
    assert len(token) == 32
    assert b"http" not in told.encode()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    "changes",
    [
        {"incarnation": "6f1c2a90b7e84d55"},  # one of our own replicas'
        {"incarnation": "e123456789abcdef"},
        {"incarnation": "edge.6f1c2a90b7e84d55"},
        {"incarnation": incarnation_prefix("another") + "0123456789abcdef"},
        {"incarnation": incarnation_prefix("threats") + "0123456789ABCDEF"},
        {"incarnation": incarnation_prefix("threats") + "0123456789abcdef\n"},
        {"incarnation": "json-0"},
        {"incarnation": None},
        {"first_sequence": -1},
        {"first_sequence": MAX_SEQUENCE},
        {"first_sequence": 2**70},
        {"first_sequence": "10"},
        {"first_sequence": 10.5},
        {"first_sequence": True},
        {"model_id": "../threats"},
        {"model_id": "x" * 200},
        {"version": "1"},
        {"replica": "a/b"},
        {"replica": "r" * 200},
        {"sent_at": "yesterday"},
        {"sent_at": 5},
        {"rows": []},
        {"rows": {}},
        {"rows": [ROW] * 10_001},
        {"rows": [1]},
        {"rows": [without("time")]},
        {"rows": [without("input")]},
        {"rows": [{**ROW, "time": "1969-12-31T23:59:59Z"}]},
        {"rows": [{**ROW, "time": "10000-01-01T00:00:00Z"}]},
        {"rows": [{**ROW, "time": "2026-06-01T12:00:00+02:00"}]},
        {"rows": [{**ROW, "latency_us": -1}]},
        {"rows": [{**ROW, "latency_us": 2**32}]},
        {"rows": [{**ROW, "error": "Not A Code"}]},
        {"rows": [{**ROW, "error": "model-failed"}]},
        {"rows": [{**ROW, "flags": {"x" * 300: "range"}}]},
        {"rows": [{**ROW, "flags": {f"f{i}": "range" for i in range(1000)}}]},
        {"rows": [{**ROW, "prediction": "theft"}]},
        {"rows": [{**ROW, "prediction": None}]},
        {"rows": [{**ROW, "prediction": 1}]},
        {"rows": [{**ROW, "prediction": float("nan")}]},
        {"rows": [{**ROW, "probabilities": [0.5, 0.5]}]},
        {"rows": [{**ROW, "probabilities": None}]},
        {"rows": [{**ROW, "probabilities": [0.5, 0.5, float("inf")]}]},
        {"rows": [{**ROW, "probabilities": [0.5, 0.5, 1e39]}]},
        {"rows": [{**ROW, "input": {}}]},
        {"rows": [{**ROW, "input": {**ROW["input"], "duration": float("nan")}}]},  # type: ignore[dict-item]
        {"rows": [{**ROW, "input": {**ROW["input"], "more": 1}}]},  # type: ignore[dict-item]
        {"rows": [{**ROW, "input": {**ROW["input"], "service": "x" * 101}}]},  # type: ignore[dict-item]
        {"rows": [{**ROW, "input": {**ROW["input"], "service": "a\0b"}}]},  # type: ignore[dict-item]
        {"rows": [{**ROW, "input": {**ROW["input"], "count": 2**63}}]},  # type: ignore[dict-item]
        {"rows": [{**ROW, "input": {"duration": 1}}]},
        {"gaps": [{"first_sequence": 5, "rows": 6, "reason": "into the rows"}]},
        {"gaps": [{"first_sequence": 5, "rows": 0, "reason": "none"}]},
        {"gaps": [{"first_sequence": 5, "rows": -1, "reason": "back"}]},
        {"gaps": [{"first_sequence": 5, "rows": 1, "reason": "\x1b[31m"}]},
        {"gaps": [{"first_sequence": 5, "rows": 2, "reason": ""}, {"first_sequence": 6, "rows": 2, "reason": ""}]},
        {"gaps": [{"first_sequence": 1, "rows": 1, "reason": ""}] * 1001},
        {"refused": {"x": -1}},
        {"refused": {"x": 2**40}},
        {"refused": {f"f{i}": 1 for i in range(1000)}},
    ],
)
def test_hostile_uploads_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        batch(**changes)
    assert len(caught.value.detail) < 3000


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b'{"rows":' + b"1" * 5000])
def test_what_is_no_upload_is_refused(body: bytes) -> None:
    with pytest.raises((Malformed, InvalidInput)):
        read_upload(body, 1000)


def test_too_many_rows() -> None:
    with pytest.raises(TooLarge, match="1001 rows"):
        upload(rows=[ROW] * 1001)


def test_the_wrong_row_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        batch(rows=[ROW, ROW, {**ROW, "input": {**ROW["input"], "count": "many"}}])  # type: ignore[dict-item]
    assert caught.value.detail.startswith("rows[2]: ")
    assert "'count'" in caught.value.detail


def at(time: datetime) -> dict[str, Any]:
    return {**ROW, "time": time.isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize(
    ("sent", "times", "skewed"),
    [
        (NOW, [NOW, NOW - timedelta(days=3)], 0),
        (NOW, [NOW + timedelta(hours=1), NOW], 1),
        (NOW, [datetime(1970, 1, 1, tzinfo=UTC), NOW], 1),
        (NOW - timedelta(days=2), [NOW, NOW], 2),
        (NOW + timedelta(seconds=200), [NOW + timedelta(seconds=100)], 0),
    ],
)
def test_times_that_can_not_be_right_are_counted(sent: datetime, times: list[datetime], skewed: int) -> None:
    told = upload(sent_at=sent.isoformat().replace("+00:00", "Z"), rows=[at(time) for time in times])
    created = NOW - timedelta(days=30)
    assert skewed_rows(told, created, NOW, timedelta(seconds=300)) == skewed


def test_large_batches_go_in_pieces() -> None:
    form = EdgeForm(TABLE, {}, Tokens(b"key"), 1 << 20)
    rows = [{**ROW, "input": {**ROW["input"], "service": f"{n}" * 30_000}} for n in range(200)]  # type: ignore[dict-item]
    pieces = pieces_of(form, upload(rows=rows, refused={"count": 1}))
    assert len(pieces) > 1
    firsts = [piece.first_sequence for piece in pieces]
    assert firsts == [10 + sum(p.rows.num_rows for p in pieces[:i]) for i in range(len(pieces))]
    assert sum(piece.rows.num_rows for piece in pieces) == 200
    assert [piece.skew.get("count", 0) for piece in pieces] == [1] + [0] * (len(pieces) - 1)
    assert sum(piece.skew["duration"] for piece in pieces) == 200
    assert all(len(piece.encode()) < 8 << 20 for piece in pieces)
