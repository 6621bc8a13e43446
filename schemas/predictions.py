"""The prediction log: one row a prediction, columnar (Arrow) from our own servers or one JSON object from anyone.

A batch is an Arrow IPC stream of one record batch, its buffers not compressed (Kafka may compress the record). Its
schema metadata holds who wrote it and which sequence numbers it covers, so that a reader can drop repeats and see a
missing range. Columns:

| column | type | meaning |
|---|---|---|
| `prediction_id` | utf8 | absent when derived: `INCARNATION-SEQUENCE` of `first_sequence + row` |
| `time` | timestamp[us, UTC] | when the answer was made |
| `version`, `route` | dictionary<utf8> | which version answered, by which route (`shadow` rows were not returned) |
| `latency_us` | uint32 | from the parsed request to the answer |
| `error` | dictionary<utf8>, null | stable error code of a failed prediction; its outputs are null |
| `flags` | dictionary<utf8>, null | how an answered input broke the contract: `NAME:CLAUSE,...`; absent: nowhere |
| `x:NAME` | by dtype | one per input; vectors and tensors are fixed-size lists up to `TENSOR_BYTES_CAP` |
| `x:NAME` | dictionary<utf8> | of a feature in `redacted`: keyed digests of the values; absent: it was dropped |
| `x:NAME` | struct<mean, std, min, max> | beyond the cap: summary statistics of the tensor |
| `y:label` | dictionary<utf8> | predicted class |
| `y:score` | float32 | probability of the predicted class |
| `y:probabilities` | fixed-size list<float32> | of all classes, in the signature's order |
| `y:value` | float64 | predicted number (regression) |
"""

import json
import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import ConfigDict, Field, SkipValidation

from schemas.arrow_messages import is_compressed
from schemas.base import Document, JsonValue, Message, Name, UtcTime, Version
from schemas.envelope import ARROW_STREAM
from schemas.features import DType, Feature, OutputRole, Signature

TENSOR_BYTES_CAP = 4096
"""A tensor input with more bytes a row than this is logged as summary statistics."""

INPUT = "x:"
FLAGS = "flags"
LABEL, SCORE, PROBABILITIES, VALUE = "y:label", "y:score", "y:probabilities", "y:value"

SUMMARY = pa.struct([(name, pa.float32()) for name in ("mean", "std", "min", "max")])
CATEGORY = pa.dictionary(pa.int16(), pa.utf8())

_ARROW_TYPES: dict[DType, pa.DataType] = {
    DType.BOOL: pa.bool_(),
    DType.INT8: pa.int8(),
    DType.INT16: pa.int16(),
    DType.INT32: pa.int32(),
    DType.INT64: pa.int64(),
    DType.UINT8: pa.uint8(),
    DType.UINT16: pa.uint16(),
    DType.UINT32: pa.uint32(),
    DType.UINT64: pa.uint64(),
    DType.FLOAT16: pa.float16(),
    DType.FLOAT32: pa.float32(),
    DType.FLOAT64: pa.float64(),
    DType.STRING: CATEGORY,
}


_SCALARS = frozenset(_ARROW_TYPES.values())
_COLUMNS: dict[str, pa.DataType] = {
    "prediction_id": pa.utf8(),
    "time": pa.timestamp("us", tz="UTC"),
    "version": CATEGORY,
    "route": CATEGORY,
    "latency_us": pa.uint32(),
    "error": CATEGORY,
    FLAGS: CATEGORY,
    LABEL: CATEGORY,
    SCORE: pa.float32(),
    VALUE: pa.float64(),
}
_REQUIRED = ("time", "version", "route", "latency_us", "error")
_LAST_TIME_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z"""

_REDACTED = b"trimtab.redacted"
_SAMPLED_OUT_ID = re.compile(r"[0-9a-f]{16}-s(0|[1-9][0-9]{0,17})", re.ASCII)

_checked: dict[str, pa.Schema] = {}
_CHECKED_MODELS = 4096


class BadBatch(ValueError):
    """The bytes are not a readable batch of predictions."""


class Gap(Document):
    """Rows that were shed on purpose: announced, so that loss is never silent."""

    first_sequence: int
    rows: int
    reason: str


class Prediction(Message):
    """One prediction as JSON, from anyone. `input` maps feature names to values."""

    TYPE: ClassVar[str] = "trimtab.prediction.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    input: dict[str, JsonValue] = Field(min_length=1)
    prediction: str | float | None = None
    probabilities: tuple[float, ...] | None = None
    prediction_id: str | None = None
    version: Version | None = None
    route: Name = "external"
    time: UtcTime | None = None
    latency_ms: float | None = None
    error: str | None = None


class PredictionBatch(Message):
    """Many predictions of one model as one Arrow record batch.

    `sequence numbers first_sequence .. first_sequence + rows - 1` belong to (`replica`, `incarnation`); an incarnation
    is one life of one replica's log of one model and is globally unique. `skew` counts, by feature, requests of this
    range that did not fit the signature but were answered.

    `sample` is the share of answered requests that are logged; `sampled_out` counts, by version, the rows that this
    incarnation has answered and not logged since its beginning (failures are always logged). Being totals, the counts
    of a repeated batch change nothing. `redacted` names the features whose values are digests or absent.
    """

    TYPE: ClassVar[str] = "trimtab.prediction.batch.v1"
    KEY: ClassVar[str] = "model_id"
    model_config = ConfigDict(arbitrary_types_allowed=True)

    model_id: Name
    replica: Name
    incarnation: Name
    first_sequence: int = Field(ge=0)
    gaps: tuple[Gap, ...] = ()
    skew: dict[str, int] = {}
    redacted: tuple[str, ...] = ()
    sample: float = Field(default=1.0, ge=0, le=1)
    sampled_out: dict[Version, Annotated[int, Field(ge=0, le=2**62)]] = Field(default={}, max_length=10_000)
    rows: SkipValidation[pa.RecordBatch] = Field(
        exclude=True, repr=False, json_schema_extra={"contentEncoding": "arrow"}
    )

    def encode(self) -> bytes:
        """The Arrow IPC stream; the metadata travels in the schema."""
        about = self.model_dump_json(exclude={"rows"})
        schema = self.rows.schema.with_metadata({b"trimtab": about.encode()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(self.rows.replace_schema_metadata(schema.metadata))
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read one batch. Zero-copy over `body`, so compressed buffers are refused: a few bytes could fill the memory.

        Raises `BadBatch`.
        """
        try:
            stream = pa.py_buffer(body)
            if is_compressed(stream):
                raise BadBatch("compressed buffers are not read: write the stream without compression")
            reader = pa.ipc.open_stream(stream)
            rows = reader.read_next_batch()
            rows.validate(full=True)
            about = json.loads((rows.schema.metadata or {})[b"trimtab"])
            batch = cls.model_validate({**about, "rows": rows})
            _check_columns(batch.model_id, rows.schema)
            _check_rows(rows)
            return batch
        except (pa.ArrowException, StopIteration, KeyError, ValueError, OSError, TypeError, RecursionError) as error:
            raise BadBatch(f"not a batch of predictions: {error or type(error).__name__}") from error

    def prediction_ids(self) -> list[str]:
        """One id a row, in order."""
        if "prediction_id" in self.rows.schema.names:
            return self.rows.column("prediction_id").to_pylist()  # type: ignore[no-any-return]
        first = self.first_sequence
        return [prediction_id(self.incarnation, first + row) for row in range(self.rows.num_rows)]


CONTENT_TYPES: dict[type[Message], str] = {PredictionBatch: ARROW_STREAM}
"""Messages whose body is not JSON."""


def _check_columns(model_id: str, schema: pa.Schema) -> None:
    """Raise `BadBatch` for a column that a reader could not take for what its name says; unknown names are left alone.

    The schema a model's batches had last is not checked again: it is the same for almost all of them.
    """
    last = _checked.get(model_id)
    if last is not None and schema.equals(last):
        return
    names = schema.names
    missing = [name for name in _REQUIRED if name not in names]
    if missing or len(set(names)) != len(names):
        raise BadBatch(f"not a batch of predictions: column {(missing or ['names'])[0]} missing or given twice")
    for field in schema:
        wanted = _COLUMNS.get(field.name)
        if wanted is not None:
            fits = field.type == wanted
        elif field.name == PROBABILITIES:
            fits = pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float32()
        elif field.name.startswith(INPUT):
            fits = _is_input(field.type)
        else:
            continue
        if not fits:
            raise BadBatch(f"not a batch of predictions: column {field.name!r} can't be {field.type}")
    if len(_checked) >= _CHECKED_MODELS:
        _checked.clear()
    _checked[model_id] = schema.remove_metadata()


def _check_rows(rows: pa.RecordBatch) -> None:
    """Raise `BadBatch` for a row without a time, a version or a route, or with a time that no calendar has."""
    for name in _REQUIRED[:-1]:
        if rows.column(name).null_count:
            raise BadBatch(f"not a batch of predictions: column {name!r} has rows without a value")
    if rows.num_rows:
        times = rows.column("time").view(pa.int64()).to_numpy()
        if times.min() < 0 or times.max() > _LAST_TIME_US:
            raise BadBatch("not a batch of predictions: a time lies outside of the years 1970 to 9999")


def _is_input(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return kind.value_type in _SCALARS or kind.value_type == pa.utf8()
    return kind in _SCALARS or kind == SUMMARY


def prediction_id(incarnation: str, sequence: int) -> str:
    """The id of the prediction that has `sequence` in the log `incarnation`."""
    return f"{incarnation}-{sequence}"


def parse_prediction_id(text: str) -> tuple[str, int] | None:
    """(incarnation, sequence) of an id made by `prediction_id`, or None for an id of foreign origin."""
    incarnation, dash, sequence = text.rpartition("-")
    if not dash or not incarnation or not (sequence.isascii() and sequence.isdigit()) or len(sequence) > 18:
        return None
    return incarnation, int(sequence)


def sampled_out_id(incarnation: str, number: int) -> str:
    """The id of the prediction that was answered as the `number`th of `incarnation` that are not logged.

    >>> sampled_out_id("6f1c2a90b7e84d55", 7), parse_prediction_id("6f1c2a90b7e84d55-s7")
    ('6f1c2a90b7e84d55-s7', None)
    """
    return f"{incarnation}-s{number}"


def is_sampled_out_id(text: str) -> bool:
    """Whether `text` was made by `sampled_out_id` for a log of our own servers."""
    return _SAMPLED_OUT_ID.fullmatch(text) is not None


def token_column(feature: str) -> str:
    """The column of a dataset that holds the digests of a redacted feature, beside its values where there are any."""
    return f"{feature}#token"


def with_redacted(schema: pa.Schema, features: Iterable[str]) -> pa.Schema:
    """A dataset's schema that says which features are redacted in some of its rows: absent, or in `token_column`."""
    return schema.with_metadata({**(schema.metadata or {}), _REDACTED: json.dumps(sorted(features)).encode()})


def redacted_in(schema: pa.Schema) -> frozenset[str]:
    """The features that a dataset's schema says are redacted in some of its rows.

    >>> redacted_in(with_redacted(pa.schema([]), ["user"])), redacted_in(pa.schema([]))
    (frozenset({'user'}), frozenset())
    """
    return frozenset(json.loads((schema.metadata or {}).get(_REDACTED, b"[]")))


def input_type(feature: Feature) -> pa.DataType:
    """The Arrow type of the column that logs `feature`."""
    element = _ARROW_TYPES[feature.dtype]
    if feature.shape == ():
        return element
    if feature.dtype is DType.STRING:
        return pa.list_(pa.utf8(), feature.size)
    if feature.size * (element.bit_width // 8 or 1) > TENSOR_BYTES_CAP:
        return SUMMARY
    return pa.list_(element, feature.size)


def batch_schema(signature: Signature) -> pa.Schema:
    """The columns of a batch for a model with `signature`, without the optional `prediction_id`."""
    fields = [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("version", CATEGORY, nullable=False),
        pa.field("route", CATEGORY, nullable=False),
        pa.field("latency_us", pa.uint32(), nullable=False),
        pa.field("error", CATEGORY),
    ]
    fields += [pa.field(INPUT + feature.name, input_type(feature)) for feature in signature.inputs]
    if signature.classes is not None:
        fields += [pa.field(LABEL, CATEGORY), pa.field(SCORE, pa.float32())]
        if signature.output(OutputRole.PROBABILITIES) is not None:
            fields.append(pa.field(PROBABILITIES, pa.list_(pa.float32(), len(signature.classes))))
    else:
        fields.append(pa.field(VALUE, pa.float64()))
    return pa.schema(fields)
