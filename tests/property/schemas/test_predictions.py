"""The Arrow codec: any batch of any signature survives; any bytes are read or refused, and never more."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.codec import BadBody, decode
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import (
    SUMMARY,
    PredictionBatch,
    batch_schema,
    input_type,
    parse_prediction_id,
    prediction_id,
)
from tests.golden.samples import prediction_batch

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
safe_names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
shapes = st.sampled_from([(), (1,), (3,), (2, 2), (40, 30), (3000,)])


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    inputs = tuple(
        Feature(name=name, dtype=draw(st.sampled_from(list(DType))), shape=draw(shapes))
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    )
    if draw(st.booleans()):
        return Signature(inputs=inputs, outputs=(Output(name="v", dtype=DType.FLOAT64),))
    classes = tuple(draw(st.lists(names, min_size=2, max_size=4, unique=True)))
    role = draw(st.sampled_from([OutputRole.PROBABILITIES, OutputRole.LABEL]))
    shape = (len(classes),) if role is OutputRole.PROBABILITIES else ()
    return Signature(
        inputs=inputs, outputs=(Output(name="y", dtype=DType.FLOAT32, shape=shape, role=role),), classes=classes
    )


def column(draw: st.DrawFn, field: pa.Field, rows: int) -> pa.Array:
    """A column of `field`'s type, with nulls where the field allows them."""
    kind = field.type
    empty = np.array([field.nullable and draw(st.booleans()) for _ in range(rows)], bool)
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if pa.types.is_dictionary(kind):
        values = seed.choice(np.array(["a", "tcp", "", "ü"], object), rows)
        return pa.array(values, pa.utf8(), mask=empty).dictionary_encode().cast(kind)
    if pa.types.is_fixed_size_list(kind):
        element = kind.value_type
        if pa.types.is_string(element):
            items: list[Any] = [None if gone else ["x"] * kind.list_size for gone in empty]
        else:
            items = [None if gone else elements(seed, element, kind.list_size) for gone in empty]
        return pa.array(items, kind)
    if kind == SUMMARY:
        return pa.array([None if gone else dict.fromkeys(("mean", "std", "min", "max"), 1.5) for gone in empty], kind)
    if pa.types.is_timestamp(kind):
        return pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, kind)
    return pa.array(
        [None if gone else value for gone, value in zip(empty, elements(seed, kind, rows), strict=True)], kind
    )


def elements(seed: np.random.Generator, kind: pa.DataType, count: int) -> list[Any]:
    if pa.types.is_boolean(kind):
        return [bool(value) for value in seed.integers(0, 2, count)]
    dtype = np.dtype(kind.to_pandas_dtype())
    if np.issubdtype(dtype, np.floating):
        return list(np.where(seed.random(count) < 0.1, np.nan, seed.normal(size=count)).astype(dtype))
    return [int(value) for value in seed.integers(0, np.iinfo(dtype).max, count, dtype=dtype)]


@st.composite
def batches(draw: st.DrawFn) -> PredictionBatch:
    schema = batch_schema(draw(signatures()))
    rows = draw(st.integers(0, 5))
    return PredictionBatch(
        model_id=draw(safe_names),
        replica=draw(safe_names),
        incarnation=draw(safe_names),
        first_sequence=draw(st.integers(0, 2**62)),
        skew=draw(st.dictionaries(names, st.integers(0, 2**40), max_size=2)),
        redacted=tuple(draw(st.lists(names, max_size=2))),
        rows=pa.RecordBatch.from_arrays([column(draw, field, rows) for field in schema], schema=schema),
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(batches())
def test_round_trip(batch: PredictionBatch) -> None:
    again = PredictionBatch.decode(batch.encode())
    assert again.model_dump(exclude={"rows"}) == batch.model_dump(exclude={"rows"})
    assert repr(again.rows.to_pylist()) == repr(batch.rows.to_pylist())
    assert len(again.prediction_ids()) == batch.rows.num_rows


BODY = prediction_batch().encode()
KNOWN = {"prediction_id", "time", "version", "route", "latency_us", "error"}


@settings(max_examples=600)
@given(st.lists(st.tuples(st.integers(0, len(BODY) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_read_or_refused(flips: list[tuple[int, int]]) -> None:
    body = bytearray(BODY)
    for position, value in flips:
        body[position] = value
    read_or_refuse(bytes(body))


@given(st.binary(max_size=400))
@example(b"")
@example(b"ARROW1\0\0")
@example(b"\xff\xff\xff\xff" + b"\xff\xff\xff\x7f")
@example(b"\xff\xff\xff\xff" + b"\x00" * 4)
def test_random_bytes_are_read_or_refused(body: bytes) -> None:
    read_or_refuse(body)


@given(st.integers(0, len(BODY)), st.binary(max_size=64))
def test_a_cut_and_patched_body_is_read_or_refused(cut: int, patch: bytes) -> None:
    read_or_refuse(BODY[:cut] + patch + BODY[cut + len(patch) :])


def read_or_refuse(body: bytes) -> None:
    try:
        batch = decode(PredictionBatch, body)
    except BadBody:
        return
    known = [name for name in batch.rows.schema.names if name in KNOWN or name.startswith(("x:", "y:"))]
    assert {"time", "version", "route", "latency_us", "error"} <= set(known)
    batch.rows.select(known).to_pylist()
    assert len(batch.prediction_ids()) == batch.rows.num_rows


@given(safe_names, st.integers(0, 10**18 - 1))
def test_ids_round_trip(incarnation: str, sequence: int) -> None:
    assert parse_prediction_id(prediction_id(incarnation, sequence)) == (incarnation, sequence)


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_foreign(text: str) -> None:
    parsed = parse_prediction_id(text)
    if parsed is not None:
        assert text.startswith(parsed[0] + "-")
        assert 0 <= parsed[1] < 10**18


@given(st.sampled_from(list(DType)), st.lists(st.integers(1, 64), max_size=3))
def test_every_input_has_a_column_type(dtype: DType, shape: list[int]) -> None:
    feature = Feature(name="x", dtype=dtype, shape=tuple(shape))
    assert pa.schema([pa.field("x:x", input_type(feature))]).names == ["x:x"]
