"""The prediction log's Arrow codec: columns, caps, missing values, hostile bytes."""

import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import (
    CATEGORY,
    SUMMARY,
    TENSOR_BYTES_CAP,
    BadBatch,
    PredictionBatch,
    batch_schema,
    input_type,
    parse_prediction_id,
    prediction_id,
)
from tests.golden.samples import prediction_batch

VALUE = Output(name="v", dtype=DType.FLOAT64)
ABOUT = json.dumps({"model_id": "m", "replica": "r", "incarnation": "i", "first_sequence": 0}).encode()


def table(rows: int = 2, **columns: pa.Array) -> pa.RecordBatch:
    """A batch with the columns that every batch has, and `columns`, which may replace them."""
    category = pa.array(["a"] * rows).dictionary_encode().cast(CATEGORY)
    whole = {
        "time": pa.array([0] * rows, pa.timestamp("us", tz="UTC")),
        "version": category,
        "route": category,
        "latency_us": pa.array([1] * rows, pa.uint32()),
        "error": category,
    } | columns
    return pa.RecordBatch.from_arrays(list(whole.values()), list(whole))


def batch_of(rows: pa.RecordBatch) -> PredictionBatch:
    return PredictionBatch(model_id="m", replica="r", incarnation="i", first_sequence=0, rows=rows)


def stream(rows: pa.RecordBatch, metadata: bytes | None) -> bytes:
    schema = rows.schema.with_metadata({b"trimtab": metadata} if metadata is not None else {})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(rows.replace_schema_metadata(schema.metadata))
    return bytes(sink.getvalue())


def test_a_batch_is_read_as_it_was_written() -> None:
    batch = prediction_batch()
    again = PredictionBatch.decode(batch.encode())
    assert again.model_dump(exclude={"rows"}) == batch.model_dump(exclude={"rows"})
    assert repr(again.rows.to_pylist()) == repr(batch.rows.to_pylist())
    assert again.rows.schema.remove_metadata() == batch.rows.schema


def test_missing_stays_told_apart_from_not_a_number() -> None:
    duration = PredictionBatch.decode(prediction_batch().encode()).rows.column("x:duration").to_pylist()
    assert duration[0] == 1.5
    assert math.isnan(duration[1])
    assert duration[2] is None


def test_an_empty_batch_is_a_batch() -> None:
    schema = prediction_batch().rows.schema
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    assert PredictionBatch.decode(batch_of(empty).encode()).rows.num_rows == 0


def test_a_slice_is_written_without_its_neighbours() -> None:
    long = table(100_000, **{"y:value": pa.array(np.arange(100_000, dtype=np.float64))})
    body = batch_of(long.slice(50_000, 3)).encode()
    assert len(body) < 5_000
    assert PredictionBatch.decode(body).rows.column("y:value").to_pylist() == [50_000.0, 50_001.0, 50_002.0]


@pytest.mark.parametrize(
    ("dtype", "elements", "summarised"),
    [
        (DType.FLOAT32, TENSOR_BYTES_CAP // 4, False),
        (DType.FLOAT32, TENSOR_BYTES_CAP // 4 + 1, True),
        (DType.FLOAT64, TENSOR_BYTES_CAP // 8 + 1, True),
        (DType.UINT8, TENSOR_BYTES_CAP, False),
        (DType.UINT8, TENSOR_BYTES_CAP + 1, True),
        (DType.FLOAT16, TENSOR_BYTES_CAP // 2, False),
    ],
)
def test_a_tensor_beyond_the_cap_is_logged_as_its_summary(dtype: DType, elements: int, summarised: bool) -> None:
    kind = input_type(Feature(name="t", dtype=dtype, shape=(elements,)))
    assert (kind == SUMMARY) is summarised
    if not summarised:
        assert kind.list_size == elements


def test_an_image_is_a_list_of_its_pixels_within_the_cap() -> None:
    kind = input_type(Feature(name="image", dtype=DType.UINT8, shape=(28, 28)))
    assert kind == pa.list_(pa.uint8(), 784)


def test_columns_follow_the_signature() -> None:
    x, s = Feature(name="x", dtype=DType.FLOAT32), Feature(name="s", dtype=DType.STRING)
    regression = batch_schema(Signature(inputs=(x, s), outputs=(VALUE,)))
    assert regression.names == ["time", "version", "route", "latency_us", "error", "x:x", "x:s", "y:value"]
    assert regression.field("x:s").type == CATEGORY
    probabilities = Output(name="p", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES)
    classes = batch_schema(Signature(inputs=(x,), outputs=(probabilities,), classes=("a", "b", "c")))
    assert classes.names[-3:] == ["y:label", "y:score", "y:probabilities"]
    assert classes.field("y:probabilities").type == pa.list_(pa.float32(), 3)
    labels_only = batch_schema(
        Signature(
            inputs=(x,), outputs=(Output(name="l", dtype=DType.STRING, role=OutputRole.LABEL),), classes=("a", "b")
        )
    )
    assert "y:probabilities" not in labels_only.names


def test_ids_are_derived_or_carried() -> None:
    batch = prediction_batch()
    derived = batch.prediction_ids()
    assert derived == [f"6f1c2a90b7e84d55-{number}" for number in (4096, 4097, 4098)]
    rows = pa.RecordBatch.from_arrays([pa.array(["a", "b"])], ["prediction_id"])
    assert batch_of(rows).prediction_ids() == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "-", "x", "-1", "x-", "x-1.0", "x-+1", "x-٣", "x-²", "order-12a", "x-" + "9" * 19, "x- 1"]
)
def test_a_foreign_id_is_not_mistaken_for_ours(text: str) -> None:
    assert parse_prediction_id(text) is None


def test_an_id_is_parsed_into_what_it_was_made_of() -> None:
    assert parse_prediction_id(prediction_id("a-b-c", 10**17)) == ("a-b-c", 10**17)


def test_every_truncation_is_refused() -> None:
    body = prediction_batch().encode()
    for length in range(0, len(body) - 8, 7):  # the last 8 bytes are the end-of-stream mark, which may be absent
        with pytest.raises(BadBatch):
            PredictionBatch.decode(body[:length])


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        json.dumps({"model_id": "m", "replica": "r", "incarnation": "i", "first_sequence": -1}).encode(),
        json.dumps({"model_id": "../m", "replica": "r", "incarnation": "i", "first_sequence": 0}).encode(),
    ],
    ids=lambda metadata: repr(metadata and metadata[:20]),
)
def test_unfit_metadata_is_refused(metadata: bytes | None) -> None:
    rows = prediction_batch().rows
    with pytest.raises(ValueError, match=r"PredictionBatch|not a batch"):
        PredictionBatch.decode(stream(rows, metadata))


def test_a_dictionary_index_that_points_nowhere_is_refused() -> None:
    good = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int16()), pa.array(["only"]))
    wild = pa.DictionaryArray.from_arrays(pa.array([0, 900], pa.int16()), good.dictionary, safe=False)
    assert PredictionBatch.decode(stream(table(version=good), ABOUT)).rows.num_rows == 2
    with pytest.raises(BadBatch):
        PredictionBatch.decode(stream(table(version=wild), ABOUT))


def test_text_that_is_not_utf_8_is_refused() -> None:
    raw = pa.array([b"\xff\xfe"], pa.binary()).view(pa.utf8())
    with pytest.raises(BadBatch):
        PredictionBatch.decode(stream(table(1, prediction_id=raw), ABOUT))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("time", pa.array([0, 0], pa.timestamp("us"))),
        ("time", pa.array([0, 0])),
        ("version", pa.array(["a", "b"])),
        ("latency_us", pa.array([1.0, 2.0])),
        ("prediction_id", pa.array([1, 2])),
        ("y:label", pa.array(["a", "b"])),
        ("y:score", pa.array([0.5, 0.5], pa.float64())),
        ("y:probabilities", pa.array([[0.5], [0.5]], pa.list_(pa.float32()))),
        ("x:a", pa.array([{"k": 1}, None])),
        ("x:a", pa.array([[1.0], [2.0]], pa.list_(pa.float32()))),
        ("x:a", pa.array([b"a", b"b"])),
    ],
)
def test_a_column_of_another_type_is_refused_by_its_name(name: str, column: pa.Array) -> None:
    with pytest.raises(BadBatch, match=re.escape(repr(name))):
        PredictionBatch.decode(stream(table(**{name: column}), ABOUT))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("time", pa.array([0, None], pa.timestamp("us", tz="UTC"))),
        ("version", pa.array(["a", None]).dictionary_encode().cast(CATEGORY)),
        ("latency_us", pa.array([None, 1], pa.uint32())),
        ("time", pa.array([0, -1], pa.timestamp("us", tz="UTC"))),
        ("time", pa.array([0, 2**62], pa.timestamp("us", tz="UTC"))),
    ],
)
def test_a_row_without_a_usable_time_version_or_route_is_refused(name: str, column: pa.Array) -> None:
    with pytest.raises(BadBatch, match=name):
        PredictionBatch.decode(stream(table(**{name: column}), ABOUT))


@pytest.mark.parametrize("missing", ["time", "version", "route", "latency_us", "error"])
def test_a_missing_column_is_named(missing: str) -> None:
    with pytest.raises(BadBatch, match=missing):
        PredictionBatch.decode(stream(table().drop_columns([missing]), ABOUT))


def test_a_column_given_twice_is_refused() -> None:
    rows = table()
    twice = pa.RecordBatch.from_arrays([*rows.columns, rows.column("route")], [*rows.schema.names, "route"])
    with pytest.raises(BadBatch, match="twice"):
        PredictionBatch.decode(stream(twice, ABOUT))


def test_a_column_of_a_later_release_is_left_alone() -> None:
    later = table(**{"trace": pa.array([{"k": 1}, None])})
    assert PredictionBatch.decode(stream(later, ABOUT)).rows.num_rows == 2


def test_a_model_may_change_its_columns_and_is_checked_again() -> None:
    assert PredictionBatch.decode(stream(table(), ABOUT)).rows.num_columns == 5
    wider = table(**{"x:a": pa.array([1.0, 2.0])})
    assert PredictionBatch.decode(stream(wider, ABOUT)).rows.num_columns == 6
    with pytest.raises(BadBatch):
        PredictionBatch.decode(stream(table(route=pa.array([1, 2])), ABOUT))


def test_a_stream_without_a_batch_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, prediction_batch().rows.schema):
        pass
    with pytest.raises(BadBatch):
        PredictionBatch.decode(bytes(sink.getvalue()))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(codec: str) -> None:
    batch = prediction_batch()
    schema = pa.ipc.open_stream(batch.encode()).schema
    plain, packed = pa.BufferOutputStream(), pa.BufferOutputStream()
    for sink, options in ((plain, None), (packed, pa.ipc.IpcWriteOptions(compression=codec))):
        with pa.ipc.new_stream(sink, schema, options=options) as writer:
            writer.write_batch(batch.rows.replace_schema_metadata(schema.metadata))
    assert PredictionBatch.decode(plain.getvalue().to_pybytes()).rows.num_rows == batch.rows.num_rows
    with pytest.raises(BadBatch, match="compressed"):
        PredictionBatch.decode(packed.getvalue().to_pybytes())
