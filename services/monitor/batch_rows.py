"""Batches of the prediction log, cut by version and brought to the signature."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import Signature
from schemas.predictions import FLAGS, INPUT
from schemas.serving_options import InputContract
from services.kernel.errors import Undecodable
from services.monitor.event_times import times_us

CLAUSES = frozenset(InputContract.model_fields)
_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)

ROWS_AT_ONCE = 16_384
"""Rows whose cells are found together: more would leave the processor's cache."""


def by_version(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """The rows of each version, in order. One version, the rule, costs no copy."""
    column = rows.column("version")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    names = column.dictionary.to_pylist()
    if column.null_count or None in names:
        raise Undecodable("a row of the batch has no version")
    if any(_VERSION.fullmatch(name) is None for name in names):
        raise Undecodable("a row of the batch has a version that is not MAJOR.MINOR.PATCH")
    if len(names) == 1:
        return {names[0]: rows}
    codes = column.indices.to_numpy(zero_copy_only=False)
    used = np.unique(codes)
    if len(used) == 1:
        return {names[used[0]]: rows}
    return {names[code]: rows.take(pa.array(np.flatnonzero(codes == code))) for code in used}


def fitting(
    rows: pa.RecordBatch, signature: Signature, expected: pa.Schema, redacted: Sequence[str] = ()
) -> tuple[pa.RecordBatch, dict[str, int]]:
    """`rows` without input columns of another type than `expected`, and how many rows are skewed, by feature.

    An absent column is skew too, unless its feature is nullable or `redacted`. A redacted column holds digests, which
    nothing is compared with: it is left out and no skew.
    """
    if not redacted and rows.schema.equals(expected):
        return rows, {}
    hidden = [name for name in rows.schema.names if name.startswith(INPUT) and name[len(INPUT) :] in redacted]
    rows = rows.drop_columns(hidden) if hidden else rows
    misfits = {}
    for feature in signature.inputs:
        column = INPUT + feature.name
        index = rows.schema.get_field_index(column)
        if index < 0:
            misfit = not feature.nullable and feature.name not in redacted
        else:
            misfit = not _alike(rows.schema.field(index).type, expected.field(column).type)
        if misfit and rows.num_rows:
            misfits[feature.name] = rows.num_rows
    wrong = [INPUT + name for name in misfits if rows.schema.get_field_index(INPUT + name) >= 0]
    return (rows.drop_columns(wrong) if wrong else rows), misfits


def _alike(given: pa.DataType, expected: pa.DataType) -> bool:
    if given.equals(expected) or pa.types.is_nested(given) or pa.types.is_nested(expected):
        return bool(given.equals(expected))
    return _is_text(given) is _is_text(expected) and not pa.types.is_temporal(given)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def flagged(rows: pa.RecordBatch) -> Counter[str]:
    """How many rows broke which clause of the input contract and were answered; clauses by name."""
    found: Counter[str] = Counter()
    index = rows.schema.get_field_index(FLAGS)
    if index < 0:
        return found
    for text in rows.column(index).value_counts().to_pylist():
        if text["values"] is not None:
            clauses = {pair.rpartition(":")[2] for pair in text["values"].split(",")}
            found.update({clause: text["counts"] for clause in clauses & CLAUSES})
    return found


def without_errors(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that were answered."""
    index = rows.schema.get_field_index("error")
    if index < 0 or rows.column(index).null_count == rows.num_rows:
        return rows
    return rows.filter(pc.is_null(rows.column(index)))


def rows_in(rows: pa.RecordBatch, ranges: Sequence[tuple[int, int]]) -> pa.RecordBatch:
    """The rows of these ranges (first, one past the last)."""
    if len(ranges) == 1:
        return rows.slice(ranges[0][0], ranges[0][1] - ranges[0][0])
    return rows.take(pa.array(np.concatenate([np.arange(*one) for one in ranges])))


def span(rows: pa.RecordBatch) -> tuple[int, int]:
    """(earliest, latest) event time, in microseconds since 1970."""
    times = times_us(rows)
    return (int(times.min()), int(times.max())) if len(times) else (0, 0)


def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches, in order, in lists of about `ROWS_AT_ONCE` rows."""
    chunk: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if chunk and rows + batch.num_rows > ROWS_AT_ONCE:
            yield chunk
            chunk, rows = [], 0
        chunk.append(batch)
        rows += batch.num_rows
    if chunk:
        yield chunk
