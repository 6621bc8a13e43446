"""`POST /mlops/predict` and `/mlops/predict/batch`: named features in; label, probabilities and prediction id out."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from services.kernel.errors import Conflict, InvalidInput, NotBuilt, TooLarge, TrimtabError
from services.serving.ask_options import PLAIN, AskOptions, PriorityName, checked_timeout, named_priority
from services.serving.asking import Asking
from services.serving.catalog import Chosen
from services.serving.columns import Columns, Row
from services.serving.exchange import LARGE_BODY_BYTES, PROBLEM, Exchange
from services.serving.explain.request import ExplainOptions, read_options
from services.serving.inputs import DEFAULT_STRING_BYTES, check_texts, load_leniently
from services.serving.model import VersionRef
from services.serving.question import Question
from services.serving.served import Answer, FallbackBy, ServedVersion

LARGE_BATCH_ROWS = 512
"""A batch of more rows is read and answered in a thread, however few bytes it has: a row that the fast reader refuses
takes some 10 us."""

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
    priority: PriorityName | None = None
    cache: bool = True
    explain: bool | dict[str, Any] = False

    @property
    def model(self) -> str:
        found = self.model_id if self.model_id is not None else self.modelId
        if found is None:
            raise InvalidInput("the request must name its model: modelId")
        return found

    def read(self) -> AskOptions:
        """What was said of the asking. Raises `InvalidInput`."""
        timeout_ms = self.timeout_ms if self.timeout_ms is not None else self.timeoutMs
        if timeout_ms is None and self.version is None and self.priority is None and self.cache:
            return PLAIN
        seconds = None if timeout_ms is None else checked_timeout(timeout_ms / 1000, "timeoutMs")
        return AskOptions(self.version, seconds, named_priority(self.priority), self.cache)

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
    fallback_by: FallbackBy | None


class _BatchAnswer(msgspec.Struct):
    predictions: list[PredictAnswer]


_decode_one = msgspec.json.Decoder(_PredictRequest).decode
_decode_many = msgspec.json.Decoder(_BatchRequest).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class PredictApi:
    """The two routes."""

    def __init__(
        self,
        asking: Asking,
        authorize: Authorize,
        string_bytes: int = DEFAULT_STRING_BYTES,
        explain: Explain | None = None,
    ) -> None:
        self._asking = asking
        self._catalog = asking.catalog
        self._authorize = authorize
        self._string_bytes = string_bytes
        self._explain = explain

    async def predict(self, exchange: Exchange) -> None:
        """Answer one row. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "predict", None)  # before a stranger's body is read
        body = await exchange.body()
        started = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        said, given = await asyncio.to_thread(_read_one, body) if large else _read_one(body)
        model = said.model
        self._authorize(exchange.authorization, "predict", model)
        options, explanation = said.read(), said.explanation
        if model not in self._catalog.models:
            await self._asking.bring(model, options, started)
        chosen = self._asking.choose(exchange, model, options.version, _feature, given)
        try:
            if large:
                with chosen.served.held():
                    row = await asyncio.to_thread(self._row, chosen.served, given)
            else:
                row = self._row(chosen.served, given)
        except TrimtabError as error:
            chosen.served.measures.failed(error.code, time.perf_counter() - started)
            raise
        answer = await self._asking.ask(exchange, chosen, Question(1, (row,), None, started, options))
        found = _answers(answer, started)[0]
        told = found if explanation is None else await self._beside(answer, row, found, explanation)
        await exchange.answer(_encode(told))

    async def _beside(self, answer: Answer, row: Row, found: PredictAnswer, options: ExplainOptions) -> dict[str, Any]:
        """The prediction with its explanation, whose failure takes nothing from what is predicted and logged."""
        told: dict[str, Any] = msgspec.structs.asdict(found)
        try:
            if self._explain is None:
                raise NotBuilt("this server explains nothing")
            if answer.fallback_by == "constant":
                raise Conflict("a constant answered, which no feature has a part in")
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
        said, given = await asyncio.to_thread(_read_batch, body) if large else _read_batch(body)
        large = large or len(given) > LARGE_BATCH_ROWS
        model = said.model
        self._authorize(exchange.authorization, "predict", model)
        if said.explain is not False:
            raise InvalidInput("explain: one row at a time with its prediction, several by POST /mlops/explain")
        options = said.read()
        if model not in self._catalog.models:
            await self._asking.bring(model, options, started)
        if not given:
            raise InvalidInput("inputs is empty: send at least one row")
        chosen, rows, columns = await self._converted(exchange, model, options, given, started, aside=large)
        answer = await self._asking.ask(exchange, chosen, Question(len(given), rows, columns, started, options))
        encoded = await asyncio.to_thread(_encode_batch, answer, started) if large else _encode_batch(answer, started)
        await exchange.answer_compressed(encoded)

    async def _converted(
        self,
        exchange: Exchange,
        model: str,
        options: AskOptions,
        given: Sequence[object],
        started: float,
        *,
        aside: bool,
    ) -> tuple[Chosen, Sequence[Row] | None, Columns | None]:
        """The version that answers and the rows as it takes them; `aside`: made to columns in a thread."""
        chosen = self._asking.choose(exchange, model, options.version, _feature, given[0])
        most = chosen.served.batcher.limits.request_rows
        if len(given) > most:
            raise TooLarge(f"inputs has {len(given)} rows; at most {most} are taken in one request")
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


def _read_one(body: bytes) -> tuple[_Options, object]:
    """The request's options and its row as it came."""
    try:
        request = _decode_one(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _slowly(body, "input", error)
    return request, request.input


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


def _feature(given: object, name: str) -> object:
    if isinstance(given, msgspec.Raw):
        try:
            found = _decode_fields(given).get(name)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # the row is refused when it is read
        return None if found is None or len(found) > LARGE_BODY_BYTES else load_leniently(bytes(found))
    return given.get(name) if isinstance(given, dict) else None


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
                answer.cached,
                answer.fallback_by is not None,
                answer.fallback_by,
            )
        )
    return answers
