"""Blocks of the prediction log -> Arrow, many at once.

Under little load a block holds one row, so what is done once a block counts: the blocks' buffers are joined column by
column as bytes, and each column becomes one NumPy array.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.features import DType, Feature
from schemas.predictions import CATEGORY, FLAGS, SUMMARY, input_type
from services.serving.blocks import Block, Latencies, RowFormat
from services.serving.columns import Columns, Layout, numpy_dtype
from services.serving.outputs import Meaning
from services.serving.runtime import Array

_decode_strings = msgspec.msgpack.Decoder(list[str]).decode


@dataclass(frozen=True)
class Texts:
    """A column of few different texts: indices `[rows]` into `names`, -1 for none."""

    names: list[str]
    codes: NDArray[np.int16]

    def to_arrow(self) -> pa.DictionaryArray:
        """A dictionary column."""
        absent = self.codes < 0
        indices = pa.array(self.codes, mask=absent if absent.any() else None)
        return pa.DictionaryArray.from_arrays(indices, pa.array(self.names, pa.utf8()))


@dataclass(frozen=True)
class BlockTable:
    """All rows of some blocks of one form. `meaning` holds anything for the rows that `failed`."""

    form: RowFormat
    times_us: NDArray[np.int64]
    version: Texts
    route: Texts
    error: Texts
    latencies_us: Latencies
    columns: Columns
    failed: NDArray[np.bool_]
    meaning: Meaning

    def parts(self, most: int) -> Iterator["BlockTable"]:
        """The same rows in tables of at most `most` rows; one, perhaps of no rows, at least."""
        rows = self.columns.rows
        if rows <= most:
            yield self
            return
        for start in range(0, rows, most):
            part = slice(start, min(start + most, rows))
            yield BlockTable(
                self.form,
                self.times_us[part],
                Texts(self.version.names, self.version.codes[part]),
                Texts(self.route.names, self.route.codes[part]),
                Texts(self.error.names, self.error.codes[part]),
                self.latencies_us[part],
                Layout.take(self.columns, part),
                self.failed[part],
                self.meaning.take(part),
            )

    def to_arrow(self) -> pa.RecordBatch:
        """One record batch of `schemas.predictions`."""
        layout, columns = self.form.layout, self.columns
        arrays: dict[str, pa.Array] = {
            "time": pa.array(self.times_us).cast(pa.timestamp("us", tz="UTC")),
            "version": self.version.to_arrow(),
            "route": self.route.to_arrow(),
            "latency_us": pa.array(self.latencies_us),
            "error": self.error.to_arrow(),
        }
        if columns.packed is not None:
            for feature, values in zip(layout.packed_features, columns.packed, strict=True):
                arrays["x:" + feature.name] = pa.array(values)
        for feature, values in zip(layout.other_features, columns.others, strict=True):
            arrays["x:" + feature.name] = _arrow_column(feature, values)
        self._add_outputs(arrays)
        schema = self.form.schema
        if columns.flags is not None:
            schema = self.form.flagged_schema
            arrays[FLAGS] = _texts([flag or None for flag in columns.flags], [1] * columns.rows).to_arrow()
        return pa.record_batch([arrays[field.name] for field in schema], schema=schema)

    def _add_outputs(self, arrays: dict[str, pa.Array]) -> None:
        failed = self.failed if self.failed.any() else None
        codes, probabilities = self.meaning.codes, self.meaning.probabilities
        classes = self.form.signature.classes
        if classes is None or codes is None:
            arrays["y:value"] = pa.array(self.meaning.values, mask=failed)
            return
        arrays["y:label"] = pa.DictionaryArray.from_arrays(pa.array(codes, mask=failed), pa.array(classes, pa.utf8()))
        if probabilities is None:
            arrays["y:score"] = pa.nulls(len(codes), pa.float32())
            return
        arrays["y:score"] = pa.array(probabilities[np.arange(len(codes)), codes], mask=failed)
        arrays["y:probabilities"] = pa.FixedSizeListArray.from_arrays(
            pa.array(probabilities.reshape(-1)), len(classes), mask=None if failed is None else pa.array(failed)
        )


def table_of(form: RowFormat, blocks: Sequence[Block]) -> BlockTable:
    """The rows of `blocks`, all of which `form` reads. O(rows), with a few small steps a block and column."""
    heads = [block.head for block in blocks]
    counts = [head.rows for head in heads]
    rows = sum(counts)
    failed = np.repeat(np.array([head.error is not None for head in heads], dtype=bool), counts)
    return BlockTable(
        form,
        np.repeat(np.array([head.time_us for head in heads], dtype=np.int64), counts),
        _texts([head.version for head in heads], counts),
        _routes(blocks, counts),
        _texts([head.error for head in heads], counts),
        np.frombuffer(b"".join([block.buffers[0] for block in blocks]), dtype=np.uint32),
        _columns(form.layout, blocks, rows),
        failed,
        _meaning(form, blocks, rows),
    )


def _columns(layout: Layout, blocks: Sequence[Block], rows: int) -> Columns:
    packed = None
    width = len(layout.packed_features)
    if width:
        pieces = [block.buffers[2] for block in blocks]
        if rows == len(blocks):  # one row a block: what lies feature by feature lies row by row as well
            packed = np.ascontiguousarray(np.frombuffer(b"".join(pieces), dtype=np.float32).reshape(rows, width).T)
        else:
            arrays = [np.frombuffer(piece, dtype=np.float32).reshape(width, -1) for piece in pieces]
            packed = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
    others = []
    for place, feature in enumerate(layout.other_features, start=3):
        others.append(_decoder(feature)([block.buffers[place] for block in blocks], rows))
    flags = None
    if any(block.head.flags for block in blocks):
        flags = [text for block in blocks for text in _flags(block)]
    return Columns(rows, packed, others, flags)


def _flags(block: Block) -> list[str]:
    if not block.head.flags:
        return [""] * block.head.rows
    texts = ["", *block.head.flags]
    return [texts[code] for code in np.frombuffer(block.buffers[-1], dtype=np.uint32).tolist()]


def _meaning(form: RowFormat, blocks: Sequence[Block], rows: int) -> Meaning:
    """What the blocks' rows mean; zeros stand for a block that has nothing there."""
    first = 3 + len(form.layout.other_features)

    def joined(place: int, item_bytes: int) -> bytes:
        pieces = [
            (block.buffers[place] if block.head.error is None else b"") or bytes(item_bytes * block.head.rows)
            for block in blocks
        ]
        return b"".join(pieces)

    classes = form.signature.classes
    if classes is None:
        return Meaning(values=np.frombuffer(joined(first + 2, 8), dtype=np.float64))
    codes = np.frombuffer(joined(first, 2), dtype=np.int16)
    if not form.outputs.has_probabilities:
        return Meaning(codes)
    raw = joined(first + 1, 4 * len(classes))
    return Meaning(codes, np.frombuffer(raw, dtype=np.float32).reshape(rows, len(classes)))


def _texts(values: "list[str | None] | list[str]", counts: list[int]) -> Texts:
    """`values` by block, repeated for its rows."""
    names = sorted({value for value in values if value is not None})
    code_of: dict[str | None, int] = {name: code for code, name in enumerate(names)}
    codes = np.array([code_of.get(value, -1) for value in values], dtype=np.int16)
    return Texts(names, np.repeat(codes, counts))


def _routes(blocks: Sequence[Block], counts: list[int]) -> Texts:
    if not any(block.buffers[1] for block in blocks):
        return _texts([block.head.routes[0] for block in blocks], counts)
    names = sorted({name for block in blocks for name in block.head.routes})
    code_of = {name: code for code, name in enumerate(names)}
    codes = []
    for block in blocks:
        own = np.array([code_of[name] for name in block.head.routes], dtype=np.int16)
        within = block.buffers[1]
        codes.append(own[np.frombuffer(within, dtype=np.uint8)] if within else np.repeat(own[:1], block.head.rows))
    return Texts(names, np.concatenate(codes))


Pieces = list[bytes]


def _decoder(feature: Feature) -> Callable[[Pieces, int], Array]:
    """(the blocks' buffers of `feature`, rows) -> `[rows, *shape]`."""
    shape, size = feature.shape, feature.size
    if feature.dtype is DType.STRING:

        def strings(pieces: Pieces, rows: int) -> Array:
            values = np.empty(rows * size, dtype=object)
            values[:] = [text for piece in pieces for text in _decode_strings(piece)]
            return values.reshape(rows, *shape)

        return strings
    summarized = shape != () and input_type(feature) == SUMMARY
    kind = np.dtype(np.float32) if summarized else numpy_dtype(feature.dtype)
    own = (4,) if summarized else shape
    return lambda pieces, rows: np.frombuffer(b"".join(pieces), dtype=kind).reshape(rows, *own)


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
