"""What of a model's predictions is logged: samples, redacted features, flags; and what earlier releases wrote."""

import asyncio
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.features import DType, Feature
from schemas.predictions import is_sampled_out_id, parse_prediction_id, prediction_id, sampled_out_id
from schemas.serving_options import LogPolicy
from services.serving.blocks import RowFormat
from services.serving.columns import FlaggedRow, Layout
from services.serving.outputs import Meaning
from services.serving.predlog import LogBudget, ModelLog
from services.serving.redaction import Redaction, Tokens
from services.serving.sampling import Drawn, draw
from services.serving.shipper import Shipper
from tests.golden import SEGMENTS
from tests.serving_models import TABLE
from tests.unit.serving.conftest import Plane
from tests.unit.serving.test_predlog import Broker
from tests.waiting import until

SECRET = "f3c0ffee-secret-service"
PLAIN = RowFormat(TABLE)


def make_log(directory: Path, policy: LogPolicy, key: bytes | None = b"key") -> ModelLog:
    log = ModelLog(directory, "m", "replica-1", LogBudget(1 << 24, "reject"), tokens=Tokens(key))
    log.obey(policy)
    return log


def append(log: ModelLog, *rows: tuple[object, ...], error: str | None = None) -> int:
    columns = Layout(TABLE).from_rows(rows)
    probabilities = np.tile(np.array([0.2, 0.5, 0.3], dtype=np.float32), (len(rows), 1))
    return log.append(
        PLAIN,
        version="1.0.0",
        routes=["a"],
        route_codes=None,
        latencies_us=np.full(len(rows), 7, dtype=np.uint32),
        columns=columns,
        meaning=None if error else Meaning(np.ones(len(rows), dtype=np.int16), probabilities),
        error=error,
    )


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def shipped(log: ModelLog, directory: Path) -> Broker:
    broker = Broker()
    shipper = Shipper(directory, broker.send, log.budget)
    shipper.carry(log)
    await shipper.stop(5)
    return broker


def test_an_id_that_is_not_in_the_log_does_not_read_as_one_that_is() -> None:
    log_id, other = prediction_id("6f1c2a90b7e84d55", 7), sampled_out_id("6f1c2a90b7e84d55", 7)
    assert (parse_prediction_id(log_id), parse_prediction_id(other)) == (("6f1c2a90b7e84d55", 7), None)
    assert (is_sampled_out_id(log_id), is_sampled_out_id(other)) == (False, True)
    for foreign in ("order-s7", "6f1c2a90b7e84d55-s07", "6f1c2a90b7e84d55-s", "6F1C2A90B7E84D55-s7", other + "\n"):
        assert not is_sampled_out_id(foreign)


def test_a_request_is_logged_as_a_whole_or_not_at_all() -> None:
    counts = [3, 1, 2] * 2000
    kept = draw(counts, 0.25)
    starts = np.cumsum([0, *counts[:-1]])
    whole = np.add.reduceat(kept.astype(int), starts)
    assert set(zip(counts, whole.tolist(), strict=True)) == {(n, k) for n in (1, 2, 3) for k in (0, n)}
    assert 0.22 < (whole > 0).mean() < 0.28
    assert draw([5], 0.0).tolist() == [False] * 5
    ids = Drawn(np.array([False, False, True, False]), 10, 4).ids("i")
    assert ids == ["i-s4", "i-s5", "i-10", "i-s6"]


async def test_a_sample_numbers_what_it_logs_without_holes_and_counts_the_rest(plane: Plane) -> None:
    model_log = plane.catalog.models["table"].versions["1.0.0"]._log
    model_log.obey(LogPolicy(sample=0.3))
    row = {"duration": 1.0, "service": "http", "count": 2}
    answers = await asyncio.gather(
        *(
            plane.client.post("/mlops/predict/batch", json={"modelId": "table", "inputs": [row] * (1 + i % 3)})
            for i in range(200)
        )
    )
    ids = [p["prediction_id"] for answer in answers for p in answer.json()["predictions"]]
    logged = sorted(parsed[1] for i in ids if (parsed := parse_prediction_id(i)) is not None)
    left_out = [i for i in ids if is_sampled_out_id(i)]
    assert len(set(ids)) == len(ids) == len(logged) + len(left_out)
    assert logged == list(range(len(logged)))
    assert 0.1 < len(logged) / len(ids) < 0.5
    await until(lambda: _counts(plane) == (len(logged), len(left_out)), 5, "rows and counts arrive")
    assert {batch.sample for batch in plane.batches if batch.model_id == "table"} == {0.3}
    assert plane.budget.sampled_out_rows == len(left_out)
    assert plane.catalog.models["table"].versions["1.0.0"].measures.sampled_out == len(left_out)
    answer = await plane.client.post(
        "/v2/models/table/infer",
        json={
            "inputs": [
                {"name": "duration", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]},
                {"name": "service", "shape": [2, 1], "datatype": "BYTES", "data": ["http", "smtp"]},
                {"name": "count", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]},
            ]
        },
    )
    name = answer.json()["parameters"]["prediction_id"]
    assert parse_prediction_id(name) is not None or is_sampled_out_id(name)


def _counts(plane: Plane) -> tuple[int, int]:
    """(logged rows, the newest total of those left out) of the model `table`."""
    own = [batch for batch in plane.batches if batch.model_id == "table"]
    return sum(batch.rows.num_rows for batch in own), max((b.sampled_out.get("1.0.0", 0) for b in own), default=0)


async def test_nothing_but_failures_is_logged_of_an_empty_sample(plane: Plane) -> None:
    plane.catalog.models["number"].versions["1.0.0"]._log.obey(LogPolicy(sample=0.0))
    for _ in range(5):
        body = {"modelId": "number", "input": {"a": 1.0, "b": 2.0}}
        answer = await plane.client.post("/mlops/predict", json=body)
        assert is_sampled_out_id(answer.json()["prediction_id"])
    await until(lambda: any(b.sampled_out == {"1.0.0": 5} for b in plane.batches), 5, "the count arrives without rows")
    assert [b.rows.num_rows for b in plane.batches if b.model_id == "number"] == [0] * len(plane.batches)


async def test_counts_of_a_dead_process_lie_in_its_segments(tmp_path: Path) -> None:
    log = make_log(tmp_path, LogPolicy(sample=0.5))
    append(log, (1.0, "http", 1, 1.0))
    log.leave_out(PLAIN, "1.0.0", 40)
    append(log, (1.0, "http", 1, 1.0), error="model-failed")
    for segment in log.segments:
        segment.close()
    broker = Broker()
    adopter = Shipper(tmp_path, broker.send, log.budget)
    assert adopter.adopt() == 1
    await until(lambda: broker.batches, 5, "the adopted log is shipped")
    (batch,) = broker.batches
    assert (batch.sampled_out, batch.sample, batch.prediction_ids()) == (
        {"1.0.0": 40},
        0.5,
        [f"{log.incarnation}-0", f"{log.incarnation}-1"],
    )
    await adopter.stop(1)


async def test_redacted_values_reach_neither_the_disk_nor_kafka(tmp_path: Path) -> None:
    log = make_log(
        tmp_path, LogPolicy(redact={"service": "hash", "src-bytes": "drop", "count": "hash", "gone": "drop"})
    )
    append(log, (1.5, SECRET, 123_456_789, 77.25), (2.5, "http", 5, float("nan")), (3.5, SECRET, 5, 1.0))
    append(log, (1.5, SECRET, 123_456_789, 77.25), error="model-failed")
    on_disk = everything_in(tmp_path)
    for value in (SECRET.encode(), np.int64(123_456_789).tobytes(), np.float32(77.25).tobytes(), b"http"):
        assert value not in on_disk
    (batch,) = (await shipped(log, tmp_path)).batches
    assert batch.redacted == ("service", "count", "src-bytes")
    assert "x:src-bytes" not in batch.rows.schema.names
    assert batch.rows.column("x:duration").to_pylist() == [1.5, 2.5, 3.5, 1.5]
    services, counts = (batch.rows.column(f"x:{name}").to_pylist() for name in ("service", "count"))
    assert services[0] == services[2] == services[3] != services[1]
    assert counts[0] == counts[3] != counts[1] == counts[2]
    assert all(re.fullmatch(r"[0-9a-f]{32}", token) for token in services + counts)
    assert batch.rows.column("y:label").to_pylist() == ["dos"] * 3 + [None]
    assert SECRET.encode() not in batch.encode()


async def test_a_log_whose_every_feature_is_redacted_is_still_a_log(tmp_path: Path) -> None:
    log = make_log(tmp_path, LogPolicy(redact=dict.fromkeys([feature.name for feature in TABLE.inputs], "drop")))
    append(log, (1.5, "http", 1, 1.0), (2.5, "http", 1, 1.0))
    (batch,) = (await shipped(log, tmp_path)).batches
    assert not [name for name in batch.rows.schema.names if name.startswith("x:")]
    assert batch.rows.num_rows == 2


async def test_a_policy_that_changes_changes_the_next_row(tmp_path: Path) -> None:
    log = make_log(tmp_path, LogPolicy())
    append(log, (1.5, SECRET, 1, 1.0))
    log.obey(LogPolicy(redact={"service": "drop"}))
    append(log, (2.5, SECRET, 1, 1.0))
    log.obey(LogPolicy())
    append(log, (3.5, SECRET, 1, 1.0))
    batches = (await shipped(log, tmp_path)).batches
    assert [(b.redacted, b.first_sequence, b.rows.num_rows) for b in batches] == [
        ((), 0, 1),
        (("service",), 1, 1),
        ((), 2, 1),
    ]


def test_tokens_hang_on_key_feature_and_value_alone() -> None:
    age, level = Feature(name="age", dtype=DType.INT64), Feature(name="level", dtype=DType.INT64)
    values = np.array([3, 4, 3])
    mine = Tokens(b"one").column(age, values).tolist()
    assert mine == Tokens(b"one").column(age, values).tolist()
    assert mine == Tokens(b"one").column(Feature(name="age", dtype=DType.FLOAT32), values.astype(np.float32)).tolist()
    assert len({*mine, *Tokens(b"two").column(age, values), *Tokens(b"one").column(level, values)}) == 6
    assert Tokens().column(age, values).tolist() != Tokens().column(age, values).tolist()
    long_key = Tokens(b"k" * 1000).column(age, values).tolist()
    assert long_key != Tokens(b"k" * 1001).column(age, values).tolist()


def test_a_tensor_has_one_token_a_row_and_a_missing_value_none() -> None:
    vector = Feature(name="x", dtype=DType.FLOAT32, shape=(3,))
    tokens = Tokens(b"key").column(vector, np.array([[1, 2, 3], [1, 2, 4], [1, 2, 3]], dtype=np.float32)).tolist()
    assert tokens[0] == tokens[2] != tokens[1]
    nullable = Feature(name="n", dtype=DType.INT64, nullable=True, filler=-1)
    assert Tokens(b"key").column(nullable, np.array([-1, 1]))[0] == ""


def test_features_that_a_version_does_not_have_are_no_matter() -> None:
    assert Redaction(TABLE, {"nobody": "drop"}).names == ()
    assert RowFormat(TABLE, {"nobody": "drop"}).digest == PLAIN.digest


async def test_flags_travel_with_their_rows(tmp_path: Path) -> None:
    log = make_log(tmp_path, LogPolicy())
    append(log, (1.5, "http", 1, 1.0))
    append(log, (1.5, "http", 1, 1.0), FlaggedRow.of((2.5, "http", 1, 1.0), "duration:range,service:category"))
    append(log, FlaggedRow.of((2.5, "http", 1, 1.0), "count:type"), error="model-failed")
    (batch,) = (await shipped(log, tmp_path)).batches
    assert batch.rows.column("flags").to_pylist() == [None, None, "duration:range,service:category", "count:type"]
    assert batch.rows.column("x:duration").to_pylist() == [1.5, 1.5, 2.5, 2.5]


async def test_a_batch_without_flags_has_no_column_for_them(tmp_path: Path) -> None:
    log = make_log(tmp_path, LogPolicy())
    append(log, (1.5, "http", 1, 1.0), FlaggedRow.of((2.5, "http", 1, 1.0), ""))
    (batch,) = (await shipped(log, tmp_path)).batches
    assert "flags" not in batch.rows.schema.names


async def test_a_block_with_more_texts_than_codes_is_shipped_in_parts(tmp_path: Path) -> None:
    log, rows = make_log(tmp_path, LogPolicy()), 40_000
    append(log, *((float(i), f"service {i}", i, 1.0) for i in range(rows)))
    batches = (await shipped(log, tmp_path)).batches
    assert [b.first_sequence for b in batches] == np.cumsum([0, *(b.rows.num_rows for b in batches[:-1])]).tolist()
    found = pa.concat_arrays([b.rows.column("x:service").cast(pa.utf8()) for b in batches]).to_pylist()
    assert found == [f"service {i}" for i in range(rows)]


@pytest.mark.parametrize("path", sorted(SEGMENTS.glob("*.segment")), ids=lambda path: path.stem)
async def test_segments_of_earlier_releases_are_still_shipped(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    broker = Broker()
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    assert shipper.adopt() == 1
    await until(lambda: len(broker.batches) == 2, 5, "both batches are shipped")
    table, vector = broker.batches
    assert broker.ids() == [f"6f1c2a90b7e84d55-{i}" for i in range(4)]
    assert table.rows.column("x:service").to_pylist() == ["http", "smtp", "http"]
    assert table.rows.column("error").to_pylist() == [None, None, "model-failed"]
    assert table.rows.column("route").to_pylist() == ["a", "b", "a"]
    assert vector.rows.column("x:x").to_pylist() == [[2.0] * 4]
    assert (table.sample, table.sampled_out, table.redacted) == (1.0, {}, ())
    await shipper.stop(1)
