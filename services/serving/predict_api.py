"""`POST /mlops/predict` and `/mlops/predict/batch`: named features in; label, probabilities and prediction id out."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from services.kernel.errors import InvalidInput, NotBuilt, TooLarge, TrimtabError
from services.serving.catalog import Catalog, Chosen
from services.serving.columns import Columns, Row
from services.serving.exchange import LARGE_BODY_BYTES, PROBLEM, Exchange
from services.serving.explain.request import ExplainOptions, read_options
from services.serving.inputs import DEFAULT_STRING_BYTES, check_texts, load_leniently
from services.serving.model import VersionRef
from services.serving.served import Answer, ServedVersion

Authorize = Callable[[str | None, str, str | None], None]
"""(Authorization header, scope, model id) -> None, or raises `Unauthenticated` or `Forbidden`."""

Explain = Callable[[VersionRef | None, Row, ExplainOptions], Awaitable[Any]]
"""Explains a row by the version that predicted it; what it gives is part of the answer. Raises `TrimtabError`."""


class _Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What both requests may say beside the input, in either spelling."""

    model_id: str | None = None
    modelId: str | None = None
    version: str | None = None
    timeout_ms: float | None = None
    timeoutMs: float | None = None
    explain: bool | dict[str, Any] = False

    @property
    def model(self) -> str:
        found = self.model_id if self.model_id is not None else self.modelId
        if found is None:
            raise InvalidInput("the request must name its model: modelId")
        return found

    @property
    def timeout_seconds(self) -> float | None:
        found = self.timeout_ms if self.timeout_ms is not None else self.timeoutMs
        if found is not None and not 0 < found <= 3_600_000:
            raise InvalidInput("timeoutMs must be more than 0 and at most 3600000")
        return None if found is None else found / 1000

    @property
    def explanation(self) -> ExplainOptions | None:
        """How to explain the prediction; None: not at all. `{}` is an explanation by default."""
        return None if self.explain is False else read_options(self.explain)


class _PredictRequest(_Options, kw_only=True):
    input: msgspec.Raw


class _BatchRequest(_Options, kw_only=True):
    inputs: list[msgspec.Raw]


class PredictAnswer(msgspec.Struct):
    """One prediction as it is answered. `prediction` is a class, or a number in regression."""

    prediction: str | float
    probabilities: dict[str, float] | None
    model_id: str
    version: str
    route: str
    prediction_id: str
    latency_ms: float
    cached: bool
    fallback: bool


class _BatchAnswer(msgspec.Struct):
    predictions: list[PredictAnswer]


_decode_one = msgspec.json.Decoder(_PredictRequest).decode
_decode_many = msgspec.json.Decoder(_BatchRequest).decode
_encode = msgspec.json.Encoder().encode


class PredictApi:
    """The two routes over a catalog."""

    def __init__(
        self,
        catalog: Catalog,
        authorize: Authorize,
        max_rows: int,
        string_bytes: int = DEFAULT_STRING_BYTES,
        explain: Explain | None = None,
    ) -> None:
        self._catalog = catalog
        self._authorize = authorize
        self._max_rows = max_rows
        self._string_bytes = string_bytes
        self._explain = explain

    async def predict(self, exchange: Exchange) -> None:
        """Answer one row. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "predict", None)  # before a stranger's body is read
        body = await exchange.body()
        started = time.perf_counter()
        try:
            request = _decode_one(body)
            given: object = request.input
            options: _Options = request
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            options, given = _slowly(body, "input", error)
        self._authorize(exchange.authorization, "predict", options.model)
        explanation = options.explanation
        if options.model not in self._catalog.models:
            await self._catalog.bring(options.model)
        chosen = self._choose(exchange, options, given)
        try:
            row = self._row(chosen.served, given)
        except TrimtabError as error:
            chosen.served.measures.failed(error.code, time.perf_counter() - started)
            raise
        answer = await self._ask(exchange, chosen, 1, (row,), None, started, options.timeout_seconds)
        found = _answers(answer, started)[0]
        told = found if explanation is None else await self._beside(answer, row, found, explanation)
        await exchange.answer(_encode(told))

    async def _beside(self, answer: Answer, row: Row, found: PredictAnswer, options: ExplainOptions) -> dict[str, Any]:
        """The prediction with its explanation, whose failure takes nothing from what is predicted and logged."""
        told: dict[str, Any] = msgspec.structs.asdict(found)
        try:
            if self._explain is None:
                raise NotBuilt("this server explains nothing")
            told["explanation"] = await self._explain(answer.served.ref, row, options)
        except TrimtabError as error:
            told |= {"explanation": None, "explanation_error": {"code": error.code, "detail": error.detail}}
        return told

    async def predict_batch(self, exchange: Exchange) -> None:
        """Answer many rows, all by one route. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "predict", None)  # before a stranger's body is read
        body = await exchange.body()
        started = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        options, given = await asyncio.to_thread(_read_batch, body) if large else _read_batch(body)
        self._authorize(exchange.authorization, "predict", options.model)
        if options.explain is not False:
            raise InvalidInput("explain: one row at a time with its prediction, several by POST /mlops/explain")
        if options.model not in self._catalog.models:
            await self._catalog.bring(options.model)
        if not given:
            raise InvalidInput("inputs is empty: send at least one row")
        if len(given) > self._max_rows:
            raise TooLarge(f"inputs has {len(given)} rows; at most {self._max_rows} are taken in one request")
        chosen, rows, columns = await self._converted(exchange, options, given, started, aside=large)
        answer = await self._ask(exchange, chosen, len(given), rows, columns, started, options.timeout_seconds)
        encoded = await asyncio.to_thread(_encode_batch, answer, started) if large else _encode_batch(answer, started)
        await exchange.answer_compressed(encoded)

    async def _converted(
        self, exchange: Exchange, options: _Options, given: Sequence[object], started: float, *, aside: bool
    ) -> tuple[Chosen, Sequence[Row] | None, Columns | None]:
        """The version that answers and the rows as it takes them; `aside`: made to columns in a thread."""
        chosen = self._choose(exchange, options, given[0])
        try:
            if not aside:
                return chosen, self._rows(chosen.served, given), None
            with chosen.served.held():
                return chosen, None, await asyncio.to_thread(self._columns, chosen.served, given)
        except TrimtabError as error:
            chosen.served.measures.failed(error.code, time.perf_counter() - started)
            raise

    def _row(self, served: ServedVersion, given: object) -> Row:
        reader = served.reader
        row = reader.read(given) if isinstance(given, msgspec.Raw) else reader.read_value(given)
        for place, feature in reader.texts:
            value = row[place]
            check_texts(feature, value.flat if isinstance(value, np.ndarray) else (value,), self._string_bytes)
        return row

    def _rows(self, served: ServedVersion, given: Sequence[object]) -> list[Row]:
        rows: list[Row] = []
        for value in given:
            try:
                rows.append(self._row(served, value))
            except TrimtabError as error:
                error.detail = f"inputs[{len(rows)}]: {error.detail}"
                raise
        return rows

    def _columns(self, served: ServedVersion, given: Sequence[object]) -> Columns:
        return served.layout.from_rows(self._rows(served, given))

    def _choose(self, exchange: Exchange, options: _Options, given: object) -> Chosen:
        model_id = options.model
        sticky = self._catalog.deployed(model_id).plan.sticky_key
        key = None if sticky is None else exchange.header(sticky) or _feature_text(given, sticky)
        return self._catalog.choose(model_id, options.version, key)

    async def _ask(
        self,
        exchange: Exchange,
        chosen: Chosen,
        count: int,
        rows: Sequence[Row] | None,
        columns: Columns | None,
        started: float,
        timeout_seconds: float | None,
    ) -> Answer:
        try:
            queued = chosen.served.batcher.busy
            future = self._catalog.ask(chosen, count, rows, columns, started)
            return await exchange.wait(future, queued=queued, timeout_seconds=timeout_seconds)
        except TrimtabError as error:
            return await self._catalog.fall_back(chosen, error, count, rows, columns, started)


def encode_problem(status: int, error: TrimtabError) -> tuple[int, bytes, bytes]:
    """A problem document (RFC 9457): its status, media type and bytes."""
    document = {
        "type": f"urn:trimtab:error:{error.code}",
        "title": (type(error).__doc__ or "").strip().rstrip("."),
        "status": status,
        "detail": error.detail,
        "code": error.code,
        **error.facts,
    }
    return status, PROBLEM, _encode(document)


def _read_batch(body: bytes) -> tuple[_Options, Sequence[object]]:
    """The request's options and its rows as they came."""
    try:
        request = _decode_many(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        options, given = _slowly(body, "inputs", error)
        if not isinstance(given, list):
            raise InvalidInput("inputs must be a list of objects") from error
        return options, given
    return request, request.inputs


def _slowly(body: bytes, field: str, error: Exception) -> tuple[_Options, Any]:
    """Read what the fast decoder refused: to name the mistake, or because it is JSON with NaN in it."""
    document = load_leniently(body)
    if not isinstance(document, dict):
        raise InvalidInput("the body must be an object with modelId and " + field) from error
    if field not in document:
        raise InvalidInput(f"the request lacks the field {field!r}") from error
    given = document.pop(field)
    unknown = [name for name in document if name not in _Options.__struct_fields__]
    if unknown:
        named = ", ".join(repr(name[:100]) for name in unknown[:10])
        raise InvalidInput(f"the request has fields that are not read here: {named}") from error
    try:
        return msgspec.convert(document, _Options), given
    except msgspec.ValidationError as wrong:
        raise InvalidInput(f"the request does not fit: {wrong}") from wrong


def _feature_text(given: object, feature: str) -> str | None:
    document = load_leniently(bytes(given)) if isinstance(given, msgspec.Raw) else given
    value = document.get(feature) if isinstance(document, dict) else None
    return None if value is None else str(value)


def _encode_batch(answer: Answer, started: float) -> bytes:
    return _encode(_BatchAnswer(_answers(answer, started)))


def _answers(answer: Answer, started: float) -> list[PredictAnswer]:
    batch, served = answer.batch, answer.served
    classes = served.outputs.classes
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    answers = []
    for row in range(answer.count):
        place = answer.start + row
        prediction: str | float
        if classes is None:
            assert batch.meaning.values is not None
            prediction, probabilities = float(batch.meaning.values[place]), None
        else:
            prediction = classes[batch.label_codes[place]]
            by_row = batch.probabilities
            probabilities = None if by_row is None else dict(zip(classes, by_row[place], strict=True))
        answers.append(
            PredictAnswer(
                prediction,
                probabilities,
                served.model_id,
                served.version,
                answer.route,
                answer.prediction_id(row),
                latency_ms,
                False,
                answer.fallback,
            )
        )
    return answers
