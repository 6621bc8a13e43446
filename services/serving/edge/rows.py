"""Rows as an edge device tells them -> a batch of the prediction log, by the rules of our own rows.

Inputs are read by the same reader as those of requests, redacted as the model's owner wants it and written by the same
format; what a device says is believed only where it fits the signature.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.edge import MAX_NAMES, EdgeRow, EdgeUpload
from schemas.features import Feature, OutputRole, Signature
from schemas.predictions import SUMMARY, Gap, PredictionBatch, input_type
from services.kernel.errors import InvalidInput, TrimtabError
from services.serving.block_table import BlockTable, Texts, table_of
from services.serving.blocks import RowFormat
from services.serving.clauses import Clauses
from services.serving.columns import FlaggedRow, Layout, Row
from services.serving.flags import Clause, flag, joined
from services.serving.inputs import RowReader, check_texts
from services.serving.outputs import Meaning
from services.serving.redaction import Redact, Redaction, Tokens

ROUTE = "edge"
_CLAUSES: dict[str, Clause] = {
    "range": "range",
    "category": "category",
    "unexpected": "unexpected",
    "missing": "missing",
    "type": "type",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMMARY = ("mean", "std", "min", "max")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class EdgeForm:
    """How rows of one signature are read and written. `redact`: what of the inputs is not logged as it is."""

    def __init__(self, signature: Signature, redact: Redact, tokens: Tokens, string_bytes: int) -> None:
        self._signature = signature
        self._form = RowFormat(signature, redact or None, tokens)
        self._redaction = Redaction(signature, redact, tokens) if self._form.redacted else None
        self._layout = Layout(signature)
        self._string_bytes = string_bytes
        self._summarized = [f for f in signature.inputs if f.shape != () and input_type(f) == SUMMARY]
        plain = tuple(f for f in signature.inputs if f not in self._summarized)
        self._reader = RowReader(signature.model_copy(update={"inputs": plain}), Clauses(), _nobody_counts)
        self._code_of = {name: code for code, name in enumerate(signature.classes or ())}
        self._has_probabilities = signature.output(OutputRole.PROBABILITIES) is not None

    def batch(self, upload: EdgeUpload) -> PredictionBatch:
        """The upload as a batch. Raises `InvalidInput` naming the row."""
        return PredictionBatch(
            model_id=upload.model_id,
            replica=f"{ROUTE}.{upload.replica}"[:128],
            incarnation=upload.incarnation,
            first_sequence=upload.first_sequence,
            gaps=tuple(Gap.model_validate(gap.model_dump()) for gap in upload.gaps),
            skew=_skew(upload),
            redacted=self._form.redacted,
            rows=self._rows(upload).to_arrow() if upload.rows else table_of(self._form, []).to_arrow(),
        )

    def _rows(self, upload: EdgeUpload) -> BlockTable:
        rows = upload.rows
        values: list[Row] = []
        for place, row in enumerate(rows):
            try:
                values.append(self._values(row))
                self._check_outputs(row)
            except TrimtabError as wrong:
                wrong.detail = f"rows[{place}]: {wrong.detail}"
                raise
        columns = self._layout.from_rows(values)
        errors = sorted({row.error for row in rows if row.error is not None})
        error_codes = [-1 if row.error is None else errors.index(row.error) for row in rows]
        same = np.zeros(len(rows), dtype=np.int16)
        return BlockTable(
            self._form,
            np.array([_microseconds(row.time) for row in rows], dtype=np.int64),
            Texts([upload.version], same),
            Texts([ROUTE], same),
            Texts(errors, np.array(error_codes, dtype=np.int16)),
            np.array([row.latency_us for row in rows], dtype=np.uint32),
            columns if self._redaction is None else self._redaction.apply(columns),
            np.array([row.error is not None for row in rows], dtype=bool),
            self._meaning(rows),
        )

    def _values(self, row: EdgeRow) -> Row:
        given = dict(row.input)
        summaries = {feature.name: _summary(feature, given.pop(feature.name, None)) for feature in self._summarized}
        read = iter(self._reader.read_value(given))
        values = [summaries[f.name] if f.name in summaries else next(read) for f in self._signature.inputs]
        for feature, value in zip(self._signature.inputs, values, strict=True):
            if feature.dtype == "string":
                check_texts(feature, value.flat if isinstance(value, np.ndarray) else (value,), self._string_bytes)
        pairs = [flag(name, _CLAUSES[kind]) for name, kind in row.flags.items() if kind in _CLAUSES]
        return FlaggedRow.of(values, joined(pairs)) if pairs else tuple(values)

    def _check_outputs(self, row: EdgeRow) -> None:
        classes = self._signature.classes
        if row.error is not None:
            if row.prediction is not None or row.probabilities is not None:
                raise InvalidInput("a row with an error has no prediction")
        elif classes is None:
            if row.probabilities is not None or isinstance(row.prediction, str):
                raise InvalidInput("the model answers with a number and has no classes")
        elif row.prediction not in self._code_of:
            raise InvalidInput("the prediction is none of the model's classes")
        elif self._has_probabilities is not (row.probabilities is not None):
            raise InvalidInput("the row must have probabilities exactly if the model gives them")
        elif row.probabilities is not None and len(row.probabilities) != len(classes):
            raise InvalidInput(f"there are {len(row.probabilities)} probabilities for {len(classes)} classes")
        elif any(p is not None and abs(p) > _FLOAT32_MAX for p in row.probabilities or ()):
            raise InvalidInput("a probability does not fit float32")

    def _meaning(self, rows: Sequence[EdgeRow]) -> Meaning:
        """What the rows were answered with; anything where they failed."""
        if self._signature.classes is None:
            numbers = [math.nan if row.prediction is None else row.prediction for row in rows]
            return Meaning(values=np.array(numbers, dtype=np.float64))
        codes = np.array([self._code_of.get(str(row.prediction), 0) for row in rows], dtype=np.int16)
        if not self._has_probabilities:
            return Meaning(codes)
        nothing = (None,) * len(self._signature.classes)
        table = [row.probabilities or nothing for row in rows]
        return Meaning(codes, np.array(table, dtype=np.float32))  # a None becomes NaN


def skewed_rows(upload: EdgeUpload, created_at: datetime, now: datetime, tolerance: timedelta) -> int:
    """Rows whose time can't be right: before their version was made, or after now; all of them when the device's clock
    is off by more than `tolerance`."""
    if abs(upload.sent_at - now) > tolerance:
        return len(upload.rows)
    earliest, latest = created_at - tolerance, now + tolerance
    return sum(not earliest <= row.time <= latest for row in upload.rows)


def _skew(upload: EdgeUpload) -> dict[str, int]:
    """By feature, the requests that did not fit: answered ones by their flags, refused ones by the device's counts."""
    counts = Counter(upload.refused)
    for row in upload.rows:
        for name in row.flags:
            if name in counts or len(counts) < MAX_NAMES:
                counts[name] += 1
    return dict(counts)


def _summary(feature: Feature, value: Any) -> NDArray[np.float32]:
    """`[4]` of a tensor that is logged as a summary. Raises `InvalidInput`."""
    numbers = [value.get(name, ...) for name in _SUMMARY] if isinstance(value, dict) and len(value) == 4 else [...]
    fits = all(n is None or (isinstance(n, int | float) and not isinstance(n, bool) and n == n) for n in numbers)
    if not fits or any(n is not None and abs(n) > _FLOAT32_MAX for n in numbers if isinstance(n, int | float)):
        raise InvalidInput(f"input {feature.name!r} must be summarized as mean, std, min and max")
    return np.array([math.nan if n is None else n for n in numbers], dtype=np.float32)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _nobody_counts(feature: str) -> None:
    """The device has counted."""
