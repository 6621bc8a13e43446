"""Rows of the prediction log: NumPy columns -> bytes on the way into a segment, bytes -> Arrow on the way to Kafka.

Writing happens on the hot path, once a batch, and copies buffers as they lie. Building Arrow costs more and is done by
the shipper for many blocks at once. What is redacted is so before it is written.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.features import DType, Feature, Signature
from schemas.predictions import CATEGORY, FLAGS, SUMMARY, batch_schema, input_type
from services.kernel.errors import IntegrityFailed
from services.serving.columns import Columns, Layout, numpy_dtype
from services.serving.outputs import Meaning, OutputReader
from services.serving.redaction import Redact, Redaction, Tokens
from services.serving.runtime import Array
from services.serving.segments import BlockKind

Latencies = NDArray[np.uint32]


class BlockHead(msgspec.Struct, array_like=True):
    """What a block of rows says about itself. `signature` is the number, in the same segment, of the SIGNATURE or FORM
    block that tells how to read it. `flags` are the texts that the last buffer indexes from 1 (0: none); without any
    there is no such buffer. `sampled_out` counts the rows of `version` that were answered and not logged until then.

    New members go to the end and have a default: blocks of an earlier release end before them.
    """

    first_sequence: int
    rows: int
    time_us: int
    signature: int
    version: str
    routes: list[str]
    error: str | None
    lengths: list[int]
    flags: list[str] = []
    sample: float = 1.0
    sampled_out: int = 0


class _FormDocument(msgspec.Struct):
    """A FORM block: a signature whose rows are redacted."""

    signature: msgspec.Raw
    redact: dict[str, Literal["hash", "drop"]]


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(BlockHead).decode
_decode_strings = msgspec.msgpack.Decoder(list[str]).decode


class RowFormat:
    """How rows of one signature are written and read. `redacted` are the features whose values are not logged."""

    def __init__(self, signature: Signature, redact: Redact | None = None, tokens: Tokens | None = None) -> None:
        """`tokens` is needed to write what is hashed."""
        self.signature = signature
        self._redaction = Redaction(signature, redact, tokens) if redact else None
        self.redacted = self._redaction.names if self._redaction else ()
        if not self.redacted:
            self._redaction = None
        self.declaration = self._declaration()
        """What a segment says before the first block of this form."""
        self.digest = signature.digest() if self._redaction is None else repr(self.declaration)
        logged = signature if self._redaction is None else self._redaction.logged
        self.schema = batch_schema(logged)
        self._flagged_schema = pa.schema([*self.schema, pa.field(FLAGS, CATEGORY)])
        self._layout = Layout(logged)
        self._outputs = OutputReader(signature)
        self._classes = len(signature.classes or ())
        self._decoders = [_decoder(feature) for feature in self._layout.other_features]
        self._encoders = {feature.name: _encoder(feature) for feature in self._layout.other_features}

    @classmethod
    def declared(cls, kind: BlockKind, payload: bytes) -> "RowFormat":
        """The form that a SIGNATURE or FORM block tells of. It reads and does not write."""
        if kind is BlockKind.SIGNATURE:
            return cls(Signature.model_validate_json(payload))
        document = msgspec.json.decode(payload, type=_FormDocument)
        return cls(Signature.model_validate_json(bytes(document.signature)), document.redact)

    def _declaration(self) -> tuple[BlockKind, bytes]:
        signature = self.signature.model_dump_json().encode()
        if self._redaction is None:
            return BlockKind.SIGNATURE, signature
        document = _FormDocument(msgspec.Raw(signature), dict(self._redaction.ways))
        return BlockKind.FORM, msgspec.json.encode(document)

    def encode(
        self,
        *,
        first_sequence: int,
        time_us: int,
        signature: int,
        version: str,
        routes: list[str],
        route_codes: NDArray[np.uint8] | None,
        latencies_us: Latencies,
        columns: Columns,
        meaning: Meaning | None,
        error: str | None,
        sample: float = 1.0,
        sampled_out: int = 0,
    ) -> list[bytes]:
        """The parts of one ROWS payload. `route_codes` index `routes`, None when there is only one; `meaning` is None
        for rows that failed with `error`."""
        if self._redaction is not None:
            columns = self._redaction.apply(columns)
        buffers = [latencies_us.tobytes(), b"" if route_codes is None else route_codes.tobytes()]
        buffers.append(b"" if columns.packed is None else columns.packed.tobytes())
        for feature, values in zip(self._layout.other_features, columns.others, strict=True):
            buffers.append(self._encoders[feature.name](values))
        if meaning is not None:
            buffers += [
                b"" if column is None else column.tobytes()
                for column in (meaning.codes, meaning.probabilities, meaning.values)
            ]
        flags: list[str] = []
        if columns.flags is not None:
            flags = sorted(set(columns.flags) - {""})
        if columns.flags is not None and flags:
            code_of = {text: code for code, text in enumerate(["", *flags])}
            buffers.append(np.array([code_of[text] for text in columns.flags], dtype=np.uint32).tobytes())
        head = BlockHead(
            first_sequence,
            columns.rows,
            time_us,
            signature,
            version,
            routes,
            error,
            [len(b) for b in buffers],
            flags,
            sample,
            sampled_out,
        )
        encoded = _encode(head)
        return [len(encoded).to_bytes(4, "little"), encoded, *buffers]

    def decode(self, payload: bytes) -> "Rows":
        """Read one ROWS payload. Raises `IntegrityFailed`."""
        head, at = read_head(payload)
        buffers = []
        for length in head.lengths:
            buffers.append(payload[at : at + length])
            at += length
        others = self._layout.other_features
        outputs = 3 if head.error is None else 0
        expected = 3 + len(others) + outputs + bool(head.flags)
        if at != len(payload) or len(buffers) != expected:
            raise IntegrityFailed("a block of the prediction log does not fit its signature")
        n = head.rows
        packed = None
        if self._layout.packed_features:
            packed = np.frombuffer(buffers[2], dtype=np.float32).reshape(len(self._layout.packed_features), n)
        decoded = [decode(buffer, n) for decode, buffer in zip(self._decoders, buffers[3:], strict=False)]
        flags = None
        if head.flags:
            texts = ["", *head.flags]
            flags = [texts[code] for code in np.frombuffer(buffers[-1], dtype=np.uint32).tolist()]
        columns = Columns(n, packed, decoded, flags)
        meaning = None
        if head.error is None:
            codes, probabilities, values = buffers[3 + len(others) : 3 + len(others) + outputs]
            meaning = Meaning(
                np.frombuffer(codes, dtype=np.int16) if codes else None,
                np.frombuffer(probabilities, dtype=np.float32).reshape(n, self._classes) if probabilities else None,
                np.frombuffer(values, dtype=np.float64) if values else None,
            )
        route_codes = np.frombuffer(buffers[1], dtype=np.uint8) if buffers[1] else np.zeros(n, dtype=np.uint8)
        return Rows(head, np.frombuffer(buffers[0], dtype=np.uint32), route_codes, columns, meaning)

    def to_arrow(self, blocks: "list[Rows]") -> pa.RecordBatch:
        """All rows of `blocks`, which have this signature, as one record batch of `schemas.predictions`."""
        if not blocks:
            return pa.record_batch([pa.array([], field.type) for field in self.schema], schema=self.schema)
        columns = self._layout.join([block.columns for block in blocks])
        counts = [block.head.rows for block in blocks]
        times = np.repeat(np.array([block.head.time_us for block in blocks], dtype=np.int64), counts)
        arrays: dict[str, pa.Array] = {
            "time": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
            "version": _categories([block.head.version for block in blocks], counts),
            "route": _routes(blocks),
            "latency_us": pa.array(np.concatenate([block.latencies_us for block in blocks])),
            "error": _categories([block.head.error for block in blocks], counts),
        }
        if columns.packed is not None:
            for feature, values in zip(self._layout.packed_features, columns.packed, strict=True):
                arrays["x:" + feature.name] = pa.array(values)
        for feature, values in zip(self._layout.other_features, columns.others, strict=True):
            arrays["x:" + feature.name] = _arrow_column(feature, values)
        self._add_outputs(arrays, blocks)
        schema = self.schema
        if columns.flags is not None:
            schema = self._flagged_schema
            arrays[FLAGS] = _categories([flag or None for flag in columns.flags], [1] * columns.rows)
        return pa.record_batch([arrays[field.name] for field in schema], schema=schema)

    def _add_outputs(self, arrays: dict[str, pa.Array], blocks: "list[Rows]") -> None:
        failed = np.concatenate([np.full(b.head.rows, b.meaning is None) for b in blocks])
        if self.signature.classes is None:
            values = [b.meaning.values if b.meaning else np.zeros(b.head.rows) for b in blocks]
            arrays["y:value"] = pa.array(np.concatenate(values), mask=failed)  # type: ignore[arg-type]
            return
        codes = np.concatenate(
            [
                b.meaning.codes if b.meaning and b.meaning.codes is not None else np.zeros(b.head.rows, dtype=np.int16)
                for b in blocks
            ]
        )
        indices = pa.array(codes, mask=failed)
        arrays["y:label"] = pa.DictionaryArray.from_arrays(indices, pa.array(self.signature.classes, pa.utf8()))
        if not self._outputs.has_probabilities:
            arrays["y:score"] = pa.nulls(len(codes), pa.float32())
            return
        probabilities = np.concatenate(
            [
                b.meaning.probabilities
                if b.meaning and b.meaning.probabilities is not None
                else np.zeros((b.head.rows, self._classes), dtype=np.float32)
                for b in blocks
            ]
        )
        arrays["y:score"] = pa.array(probabilities[np.arange(len(codes)), codes], mask=failed)
        arrays["y:probabilities"] = pa.FixedSizeListArray.from_arrays(
            pa.array(probabilities.reshape(-1)), self._classes, mask=pa.array(failed)
        )


class Rows(msgspec.Struct):
    """One decoded block."""

    head: BlockHead
    latencies_us: Latencies
    route_codes: NDArray[np.uint8]
    columns: Columns
    meaning: Meaning | None

    def split(self, most: int) -> "list[Rows]":
        """The same rows in blocks of at most `most` rows."""
        if self.head.rows <= most:
            return [self]
        return [self._part(slice(at, min(at + most, self.head.rows))) for at in range(0, self.head.rows, most)]

    def _part(self, part: slice) -> "Rows":
        first = self.head.first_sequence + part.start
        head = msgspec.structs.replace(self.head, first_sequence=first, rows=part.stop - part.start)
        columns = Layout.take(self.columns, part)
        meaning = None if self.meaning is None else self.meaning.take(part)
        return Rows(head, self.latencies_us[part], self.route_codes[part], columns, meaning)


def read_head(payload: bytes) -> tuple[BlockHead, int]:
    """The head of a ROWS payload and where its buffers begin. Raises `IntegrityFailed`."""
    at = 4 + int.from_bytes(payload[:4], "little")
    try:
        return _decode_head(payload[4:at]), at
    except msgspec.DecodeError as error:
        raise IntegrityFailed(f"a block of the prediction log has no readable head: {error}") from error


def _encoder(feature: Feature) -> Callable[[Array], bytes]:
    if feature.dtype is DType.STRING:
        return lambda values: _encode(values.reshape(-1).tolist())
    if feature.shape != () and input_type(feature) == SUMMARY:
        return lambda values: summarize(values).tobytes()
    return lambda values: values.tobytes()


def _decoder(feature: Feature) -> Callable[[bytes, int], Array]:
    shape, size = feature.shape, feature.size
    if feature.dtype is DType.STRING:

        def strings(buffer: bytes, rows: int) -> Array:
            values = np.empty(rows * size, dtype=object)
            values[:] = _decode_strings(buffer)
            return values.reshape(rows, *shape)

        return strings
    if shape != () and input_type(feature) == SUMMARY:
        return lambda buffer, rows: np.frombuffer(buffer, dtype=np.float32).reshape(rows, 4)
    kind = numpy_dtype(feature.dtype)
    return lambda buffer, rows: np.frombuffer(buffer, dtype=kind).reshape(rows, *shape)


def summarize(values: Array) -> NDArray[np.float32]:
    """Mean, standard deviation, minimum and maximum of each row's elements, `[rows, 4]`."""
    flat = values.reshape(values.shape[0], -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat.std(axis=1), flat.min(axis=1), flat.max(axis=1)], axis=1)


def _arrow_column(feature: Feature, values: Array) -> pa.Array:
    kind = input_type(feature)
    if kind == SUMMARY:
        fields = [pa.array(np.ascontiguousarray(values[:, i])) for i in range(4)]
        return pa.StructArray.from_arrays(fields, fields=list(SUMMARY))
    if kind == CATEGORY:
        encoded = pa.array(values.tolist(), pa.utf8()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int16()), encoded.dictionary)
    flat = values.reshape(-1)
    elements = pa.array(flat.tolist(), pa.utf8()) if feature.dtype is DType.STRING else pa.array(flat)
    return elements if feature.shape == () else pa.FixedSizeListArray.from_arrays(elements, feature.size)


def _categories(values: "list[str | None]", counts: list[int]) -> pa.DictionaryArray:
    names = sorted({value for value in values if value is not None})
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.repeat(np.array([code_of.get(v, 0) if v is not None else 0 for v in values], dtype=np.int16), counts)
    absent = np.repeat(np.array([value is None for value in values], dtype=bool), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=absent), pa.array(names, pa.utf8()))


def _routes(blocks: list[Rows]) -> pa.DictionaryArray:
    names = sorted({name for block in blocks for name in block.head.routes})
    code_of = {name: code for code, name in enumerate(names)}
    codes = [
        np.array([code_of[name] for name in block.head.routes], dtype=np.int16)[block.route_codes] for block in blocks
    ]
    return pa.DictionaryArray.from_arrays(pa.array(np.concatenate(codes)), pa.array(names, pa.utf8()))
