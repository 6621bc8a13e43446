"""`POST /mlops/explain`, and the explanation beside a prediction.

Nothing here is logged as a prediction and nothing counts as a misfit of the traffic: whoever asks why sends no traffic.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from schemas.features import Signature
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import read_manifest
from services.kernel.errors import TooLarge, TrimtabError, Unavailable
from services.serving.clauses import Clauses
from services.serving.columns import Row
from services.serving.exchange import LARGE_BODY_BYTES, Exchange
from services.serving.explain.explainer import Explainer
from services.serving.explain.request import ExplainOptions, read_request
from services.serving.explain.versions import VersionBook
from services.serving.explain.wire import Contribution, Explanations
from services.serving.inputs import RowReader, check_texts, load_leniently
from services.serving.model import VersionRef

Authorize = Callable[[str | None, str, str | None], None]

_READERS = 64
"""Versions whose reader of rows is kept."""


class Explanation(msgspec.Struct, rename={"target": "class"}):
    """One row, explained: `base_value` and the contributions sum to `output` but for `additivity_error`.

    `kind` says what the output is: the `probability` of `class`, an `indicator` of it (1 where it is predicted), or a
    `value`. `algorithm`, `samples`, `seed`, `background_rows` say how it was found; `fidelity` is LIME's weighted R².
    `quantized`: the kind of the smaller graph that is deployed in place of the version's own, and explained.
    `elapsed_ms` is of the whole request, its queue included.
    """

    model_id: str
    version: str
    prediction: str | float
    probabilities: dict[str, float] | None
    kind: str
    target: str | None
    base_value: float
    output: float
    contributions: list[Contribution]
    additivity_error: float
    fidelity: float | None
    quantized: str | None
    method: str
    algorithm: str
    samples: int
    seed: int
    background_rows: int
    elapsed_ms: float


class _Many(msgspec.Struct):
    explanations: list[Explanation]


_encode = msgspec.json.Encoder().encode


class ExplainApi:
    """The route over the versions that are known and the explainer."""

    def __init__(self, explainer: Explainer, versions: VersionBook, authorize: Authorize) -> None:
        self._explainer = explainer
        self._versions = versions
        self._authorize = authorize
        self._settings = explainer.settings
        self._readers: OrderedDict[str, RowReader] = OrderedDict()

    async def explain(self, exchange: Exchange) -> None:
        """Answer `POST /mlops/explain`. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "predict", None)  # before a stranger's body is read
        body = await exchange.body()
        started = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        request = read_request(await asyncio.to_thread(load_leniently, body) if large else load_leniently(body))
        self._authorize(exchange.authorization, "predict", request.model_id)
        request.check(self._settings)
        given = request.rows
        if len(given) > self._settings.serving_explain_rows:
            raise TooLarge(
                f"inputs has {len(given)} rows; at most {self._settings.serving_explain_rows} are explained in one "
                "request: see TRIMTAB_SERVING_EXPLAIN_ROWS"
            )
        ref = await self._versions.find(request.model_id, request.version)
        rows = self._rows(await self._reader(ref), given)
        asked = asyncio.ensure_future(self._explained(ref, rows, request, started))
        found = await exchange.wait(asked, watched=True)
        await exchange.answer(_encode(found[0] if request.input is not None else _Many(found)))

    async def beside(self, ref: VersionRef | None, row: Row, options: ExplainOptions) -> Explanation:
        """The explanation of a row that was just predicted by the version at `ref`. Raises `TrimtabError`."""
        if ref is None:
            raise Unavailable("this version was not loaded from the artifact store: it can't be explained")
        options.check(self._settings)
        return (await self._explained(ref, [row], options, time.perf_counter()))[0]

    async def _explained(
        self, ref: VersionRef, rows: Sequence[Row], options: ExplainOptions, started: float
    ) -> list[Explanation]:
        found = await self._explainer.explain(
            ref,
            [[value.ravel().tolist() if isinstance(value, np.ndarray) else value for value in row] for row in rows],
            method=options.method,
            target=options.target,
            samples=options.samples,
            seed=options.seed,
        )
        return _told(ref, found, options, round((time.perf_counter() - started) * 1000, 3))

    async def _reader(self, ref: VersionRef) -> RowReader:
        reader = self._readers.get(ref.manifest_digest)
        if reader is None:
            located = await self._explainer.locate(ref)
            signature = await asyncio.to_thread(_signature, Path(located.directory))
            reader = RowReader(signature, Clauses(), _nobody_counts)
            self._readers[ref.manifest_digest] = reader
            if len(self._readers) > _READERS:
                self._readers.popitem(last=False)
        reader.clauses = self._settings.clauses.under(self._versions.contract(ref.model_id))
        return reader

    def _rows(self, reader: RowReader, given: Sequence[dict[str, Any]]) -> list[Row]:
        rows: list[Row] = []
        for document in given:
            try:
                row = reader.read_value(document)
                for place, feature in reader.texts:
                    value = row[place]
                    texts = value.flat if isinstance(value, np.ndarray) else (value,)
                    check_texts(feature, texts, self._settings.serving_string_bytes)
            except TrimtabError as error:
                if len(given) > 1:
                    error.detail = f"inputs[{len(rows)}]: {error.detail}"
                raise
            rows.append(row)
        return rows


def _told(ref: VersionRef, found: Explanations, options: ExplainOptions, elapsed_ms: float) -> list[Explanation]:
    return [
        Explanation(
            ref.model_id,
            ref.version,
            row.prediction,
            row.probabilities,
            found.kind,
            row.target,
            row.base_value,
            row.output,
            row.contributions,
            row.additivity_error,
            row.fidelity,
            ref.graph.kind if ref.graph is not None else None,
            options.method,
            row.algorithm,
            row.samples,
            options.seed,
            found.background_rows,
            elapsed_ms,
        )
        for row in found.rows
    ]


def _signature(directory: Path) -> Signature:
    return read_manifest((directory / MANIFEST_NAME).read_bytes()).signature


def _nobody_counts(name: str) -> None:
    """A question is no traffic: its misfits say nothing about the callers of the model."""
