"""From named values to an answer: checked, run, logged, and only then answered."""

import math
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import ROUTE
from .bundle import Bundle
from .errors import EdgeError, InvalidInput, ModelFailed, TooLarge
from .inputs import Row, RowReader
from .model import Model, Prediction
from .predlog import PredictionLog
from .segments import Document
from .signature import Feature

ROWS_AT_ONCE = 256
"""Rows of one run of the model, and of one write of the log."""
REQUEST_ROWS = 10_000
"""Most rows of one request."""


@dataclass
class Counts:
    """What has been answered since the start."""

    answered: int = 0
    failed: int = 0
    refused: int = 0


class Predictor:
    """Answers for one bundle. Thread-safe."""

    def __init__(self, bundle: Bundle, model: Model, reader: RowReader, log: PredictionLog) -> None:
        self.counts = Counts()
        self.bundle = bundle
        self.log = log
        self._model = model
        self._reader = reader
        self._lock = threading.Lock()
        self._rows_at_once = model.max_rows or ROWS_AT_ONCE

    def predict(self, document: object) -> Document:
        """The answer to one row. Raises `InvalidInput`, `ModelFailed` and `Unavailable`."""
        return self.predict_many([document])[0]

    def predict_many(self, documents: list[object]) -> list[Document]:
        """The answers to many rows, in order; one that can't be answered fails all, as the servers do it."""
        if not documents:
            raise InvalidInput("there is no row: send at least one")
        if len(documents) > REQUEST_ROWS:
            raise TooLarge(f"there are {len(documents)} rows; at most {REQUEST_ROWS} are taken in one request")
        rows = []
        for place, document in enumerate(documents):
            row = self._read(document)
            if isinstance(row, InvalidInput):
                row.detail = row.detail if len(documents) == 1 else f"inputs[{place}]: {row.detail}"
                raise row
            rows.append(row)
        answers: list[Document] = []
        for start in range(0, len(rows), self._rows_at_once):
            for answer in self._answer(rows[start : start + self._rows_at_once]):
                if isinstance(answer, EdgeError):
                    raise answer
                answers.append(answer)
        return answers

    def predict_each(self, documents: list[object]) -> list[Document | EdgeError]:
        """An answer or an error for each row by itself; what is an error already stays it. Raises `Unavailable`."""
        found: list[Document | EdgeError] = []
        batch: list[tuple[int, Row]] = []
        for document in documents:
            row = self._read(document)
            if isinstance(row, Row):
                batch.append((len(found), row))
                found.append(ModelFailed("not run"))
            else:
                found.append(row)
        for start in range(0, len(batch), self._rows_at_once):
            part = batch[start : start + self._rows_at_once]
            for (place, _), answer in zip(part, self._answer([row for _, row in part]), strict=True):
                found[place] = answer
        return found

    def _read(self, document: object) -> Row | InvalidInput:
        if isinstance(document, InvalidInput):  # it could not even be parsed
            return document
        try:
            return self._reader.read(document)
        except InvalidInput as error:
            self.log.refused(list(error.features))
            with self._lock:
                self.counts.refused += 1
            return error

    def _answer(self, rows: list[Row]) -> list[Document | EdgeError]:
        """Run, log, answer. A row on which the model fails takes none of its neighbours along."""
        self.log.admit()
        begun, now = time.perf_counter(), datetime.now(UTC)
        found: list[Prediction | ModelFailed]
        try:
            found = list(self._model.run(rows))
        except ModelFailed as error:
            found = [error] if len(rows) == 1 else [self._alone(row) for row in rows]
        seconds = time.perf_counter() - begun
        time_text, latency_us = now.isoformat().replace("+00:00", "Z"), min(int(seconds * 1e6), 2**32 - 1)
        logged = [self._line(row, made, time_text, latency_us) for row, made in zip(rows, found, strict=True)]
        first = self.log.append(logged)
        failed = sum(isinstance(made, EdgeError) for made in found)
        with self._lock:
            self.counts.failed += failed
            self.counts.answered += len(rows) - failed
        latency_ms = round((time.perf_counter() - begun) * 1000, 3)
        return [
            made if isinstance(made, ModelFailed) else self._told(row, made, first + place, latency_ms)
            for place, (row, made) in enumerate(zip(rows, found, strict=True))
        ]

    def _alone(self, row: Row) -> Prediction | ModelFailed:
        try:
            return self._model.run([row])[0]
        except ModelFailed as error:
            return error

    def _line(self, row: Row, made: Prediction | ModelFailed, time_text: str, latency_us: int) -> Document:
        named = zip(self.bundle.signature.inputs, row.values, strict=True)
        line: Document = {
            "time": time_text,
            "input": {feature.name: _logged(feature, value) for feature, value in named},
            "latency_us": latency_us,
            "flags": row.flags,
        }
        if isinstance(made, ModelFailed):
            return {**line, "error": made.code}
        probabilities = None if made.probabilities is None else [_finite(each) for each in made.probabilities]
        return {**line, "prediction": _finite(made.prediction), "probabilities": probabilities}

    def _told(self, row: Row, made: Prediction, sequence: int, latency_ms: float) -> Document:
        probabilities = None
        if made.probabilities is not None and self.bundle.signature.classes is not None:
            probabilities = dict(zip(self.bundle.signature.classes, map(_finite, made.probabilities), strict=True))
        return {
            "prediction": _finite(made.prediction),
            "probabilities": probabilities,
            "model_id": self.bundle.model_id,
            "version": self.bundle.version,
            "route": ROUTE,
            "prediction_id": f"{self.log.incarnation}-{sequence}",
            "latency_ms": latency_ms,
            "cached": False,
            "fallback": False,
            "flags": row.flags,
        }


def _finite(value: str | float) -> str | float | None:
    """JSON has no NaN and no infinity: either is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _logged(feature: Feature, value: Any) -> Any:
    if not feature.summarized:
        return [_finite(each) for each in value] if feature.shape else _finite(value)
    numbers = [float(each) for each in value]
    mean = math.fsum(numbers) / len(numbers)
    std = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    summary = {"mean": mean, "std": std, "min": min(numbers), "max": max(numbers)}
    return {name: _finite(number) for name, number in summary.items()}
