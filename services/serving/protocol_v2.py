"""Open Inference Protocol V2 over HTTP: health, metadata and inference, JSON and binary tensors.

Answers carry the platform's own facts in the protocol's `parameters`: `prediction_id` (of the first row; the ids of the
rows after it count up), `route` and, when it happened, `fallback`. Errors are `{"error": "..."}`.

Source: Open Inference Protocol V2 (KServe), and Triton's binary tensor data extension.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from schemas.features import Feature
from services.kernel.errors import InvalidInput, NotBuilt, NotFound, TrimtabError, Unavailable
from services.kernel.http.problems import MethodNotAllowed
from services.serving import tensors
from services.serving.catalog import Catalog, Chosen
from services.serving.columns import Columns
from services.serving.exchange import JSON, LARGE_BODY_BYTES, OCTETS, Exchange
from services.serving.inputs import DEFAULT_STRING_BYTES, Malformed, check_texts, load_leniently
from services.serving.predict_api import Authorize
from services.serving.runtime import Array, RuntimeFailed
from services.serving.served import Answer, ServedVersion

_MOST_PATHS = 1000
_ABSENT = msgspec.Raw(b"")
_BINARY_LENGTH = b"inference-header-content-length"


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None  # raw JSON from the fast decoder, parsed JSON from the slow one
    parameters: dict[str, Any] | None = None


class _RawTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _ABSENT
    parameters: dict[str, Any] | None = None


class _WantedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct, gc=False):
    inputs: list[_RawTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_WantedOutput] | None = None


class _SlowRequest(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_WantedOutput] | None = None


class _OutputTensor(msgspec.Struct, omit_defaults=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


class _Response(msgspec.Struct, omit_defaults=True, gc=False):
    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[_OutputTensor]
    id: str | None = None


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


def encode_error(status: int, error: TrimtabError) -> tuple[int, bytes, bytes]:
    """The protocol's error document; whatever is wrong with the input is 400 there."""
    return 400 if status == 422 else status, JSON, _encode({"error": error.detail})


class ProtocolV2:
    """The routes under `/v2`."""

    def __init__(
        self,
        catalog: Catalog,
        authorize: Authorize,
        *,
        server_name: str,
        ready: Callable[[], bool],
        open_health: bool = True,
        string_bytes: int = DEFAULT_STRING_BYTES,
    ) -> None:
        self._catalog = catalog
        self._authorize = authorize
        self._server_name = server_name
        self._ready = ready
        self._open_health = open_health
        self._string_bytes = string_bytes
        self._infer_paths: dict[str, tuple[str, str | None]] = {}

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request under `/v2`. Raises `TrimtabError`."""
        path = exchange.scope["path"]
        known = self._infer_paths.get(path)
        if known is not None and exchange.method == "POST":
            await self._infer(exchange, *known)
            return
        parts = [unquote(part) for part in _raw_path(exchange).strip("/").split("/")]
        if parts[1:2] == ["health"] and not self._open_health:
            self._authorize(exchange.authorization, "read", None)
        match (exchange.method, *parts[1:]):
            case ("POST", "models", model, "infer"):
                await self._infer(exchange, model, None)
                self._remember(path, model, None)
            case ("POST", "models", model, "versions", version, "infer"):
                await self._infer(exchange, model, version)
                self._remember(path, model, version)
            case ("GET" | "HEAD", "health", "live"):
                await exchange.answer(_encode({"live": True, "ready": self._ready()}))
            case ("GET" | "HEAD", "health", "ready"):
                ready = self._ready()
                await exchange.answer(_encode({"live": True, "ready": ready}), status=200 if ready else 503)
            case ("GET" | "HEAD",):
                self._authorize(exchange.authorization, "read", None)
                await exchange.answer(_encode(self._server()))
            case (
                (_, "repository", *_)
                | ("GET", "models", "stats")
                | ("GET", "models", _, "stats" | "config")
                | ("GET", "models", _, "versions", _, "stats" | "config")
            ):
                self._authorize(exchange.authorization, "read", None)
                raise NotBuilt(f"{exchange.scope['path'][:200]} is not built in this release")
            case ("GET" | "HEAD", "models", model):
                await self._metadata(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version):
                await self._metadata(exchange, model, version)
            case ("GET" | "HEAD", "models", model, "ready"):
                await self._model_ready(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version, "ready"):
                await self._model_ready(exchange, model, version)
            case _:
                self._authorize(exchange.authorization, "read", None)
                if allowed := _methods_of(parts[1:]):
                    raise MethodNotAllowed(exchange.method, path, allowed)
                raise NotFound(f"the protocol has no {exchange.method} {exchange.scope['path'][:200]}")

    def _remember(self, path: str, model: str, version: str | None) -> None:
        """A path that led to a model need not be taken apart again. Only plain ones, and a bounded number."""
        if "%" not in path and len(self._infer_paths) < _MOST_PATHS:
            self._infer_paths[path] = (model, version)

    def _server(self) -> dict[str, object]:
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version("trimtab")
        except PackageNotFoundError:
            release = "0"
        return {"name": self._server_name, "version": release, "extensions": ["binary_tensor_data"]}

    async def _metadata(self, exchange: Exchange, model: str, version: str | None) -> None:
        self._authorize(exchange.authorization, "read", model)
        deployed = self._catalog.deployed(model)
        served = self._catalog.choose(model, version, "").served
        signature = served.signature
        document = {
            "name": model,
            "versions": sorted(deployed.versions),
            "platform": "onnx_onnxv1",
            "inputs": [_described(feature) for feature in signature.inputs],
            "outputs": [{"name": o.name, "datatype": o.dtype.v2, "shape": [-1, *o.shape]} for o in signature.outputs],
            "parameters": {"classes": signature.classes} if signature.classes else {},
        }
        await exchange.answer(_encode(document))

    async def _model_ready(self, exchange: Exchange, model: str, version: str | None) -> None:
        self._authorize(exchange.authorization, "read", model)
        try:
            self._catalog.choose(model, version, "")
            ready = True
        except Unavailable:
            ready = False
        await exchange.answer(_encode({"name": model, "ready": ready}), status=200 if ready else 503)

    async def _infer(self, exchange: Exchange, model: str, version: str | None) -> None:
        self._authorize(exchange.authorization, "predict", model)
        body = await exchange.body()
        started = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        request, binary = await asyncio.to_thread(_read, exchange, body) if large else _read(exchange, body)
        if model not in self._catalog.models:
            await self._catalog.bring(model)
        while True:
            chosen = self._choose(exchange, model, version, request)
            served = chosen.served
            try:
                wanted = _wanted(served, request)
                if not large:
                    columns = _columns(served, request, binary, self._string_bytes)
                    break
                columns = await asyncio.to_thread(_columns, served, request, binary, self._string_bytes)
            except TrimtabError as error:
                served.measures.failed(error.code)
                raise
            if not served.closed:
                break
            await self._catalog.bring(model)  # unloaded or replaced meanwhile
        answer = await self._ask(exchange, chosen, columns, started)
        await _respond(exchange, request, wanted, answer)

    def _choose(
        self, exchange: Exchange, model: str, version: str | None, request: "_Request | _SlowRequest"
    ) -> Chosen:
        sticky = self._catalog.deployed(model).plan.sticky_key
        key = None
        if sticky is not None:
            key = exchange.header(sticky) or str((request.parameters or {}).get(sticky, "")) or None
        return self._catalog.choose(model, version, key)

    async def _ask(self, exchange: Exchange, chosen: Chosen, columns: Columns, started: float) -> Answer:
        try:
            queued = chosen.served.batcher.busy
            future = self._catalog.ask(chosen, columns.rows, None, columns, started)
            return await exchange.wait(future, queued=queued)
        except TrimtabError as error:
            return await self._catalog.fall_back(chosen, error, columns.rows, None, columns, started)


def _methods_of(parts: list[str]) -> tuple[str, ...]:
    """The methods that a path below `/v2` takes; none for one that the protocol does not have."""
    match parts:
        case ["models", _, "infer"] | ["models", _, "versions", _, "infer"]:
            return ("POST",)
        case (
            []
            | ["health", "live" | "ready"]
            | ["models", _]
            | ["models", _, "ready"]
            | ["models", _, "versions", _]
            | ["models", _, "versions", _, "ready"]
        ):
            return ("GET", "HEAD")
    return ()


def _raw_path(exchange: Exchange) -> str:
    raw: bytes = exchange.scope.get("raw_path") or exchange.scope["path"].encode()
    return raw.decode("latin-1")


def _described(feature: Feature) -> dict[str, object]:
    return {"name": feature.name, "datatype": feature.dtype.v2, "shape": [-1, *(feature.shape or (1,))]}


def _read(exchange: Exchange, body: bytes) -> "tuple[_Request | _SlowRequest, memoryview]":
    """The request's JSON part and its binary part. Raises `Malformed` and `InvalidInput`."""
    binary = memoryview(b"")
    if exchange.binary_header_length is not None:
        text = exchange.binary_header_length
        length = int(text) if text.isdigit() and len(text) < 20 else -1
        if not 0 < length <= len(body):
            raise InvalidInput("Inference-Header-Content-Length is not a length within the body")
        binary = memoryview(body)[length:]
        body = body[:length]
    try:
        return _decode(body), binary
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        document = load_leniently(body)
        try:
            return msgspec.convert(document, _SlowRequest), binary
        except msgspec.ValidationError as error:
            raise Malformed(f"not an inference request: {error}") from error
        except RecursionError as error:
            raise Malformed("the JSON is nested too deeply") from refused or error


def _columns(
    served: ServedVersion, request: "_Request | _SlowRequest", binary: memoryview, string_bytes: int
) -> Columns:
    features = served.features
    arrays: dict[str, Array] = {}
    rows = 0
    for given in request.inputs:
        feature = features.get(given.name)
        if feature is None:
            raise InvalidInput(f"input {given.name[:100]!r} is none of this model's: {', '.join(features)[:500]}")
        if given.name in arrays:
            raise InvalidInput(f"input {given.name!r} appears twice")
        its_rows = tensors.checked_rows(feature, given.name, given.shape, given.datatype)
        if rows and its_rows != rows:
            raise InvalidInput(f"input {given.name!r} has {its_rows} rows, the inputs before it {rows}")
        rows = its_rows
        size = (given.parameters or {}).get("binary_data_size")
        absent = given.data is None or given.data is _ABSENT
        if (size is None) == absent:
            raise InvalidInput(f"input {given.name!r} must have exactly one of data and binary_data_size")
        if size is None:
            arrays[given.name] = tensors.from_json(feature, rows, given.data)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
            raise InvalidInput(f"input {given.name!r}: binary_data_size does not fit the body")
        arrays[given.name] = tensors.from_binary(feature, rows, binary[:size])
        binary = binary[size:]
    if len(binary):
        raise InvalidInput(f"{len(binary)} bytes of binary data belong to no input")
    if not rows:
        raise InvalidInput("inputs is empty: send at least one tensor")
    for _, feature in served.reader.texts:
        if feature.name in arrays:
            check_texts(feature, arrays[feature.name].flat, string_bytes)
    if len(arrays) == len(features):
        ordered = [arrays[name] for name in features]
    else:
        ordered = [arrays[n] if n in arrays else tensors.filled(feature, rows) for n, feature in features.items()]
    return served.layout.from_arrays(ordered, rows)


def _wanted(served: ServedVersion, request: "_Request | _SlowRequest") -> list[tuple[str, bool]]:
    """(name, whether binary) of the outputs to answer with. Raises `InvalidInput`."""
    default = bool((request.parameters or {}).get("binary_data_output", False))
    if not request.outputs:
        return [(name, default) for name in served.output_names]
    wanted = [(o.name, bool((o.parameters or {}).get("binary_data", default))) for o in request.outputs]
    if len({name for name, _ in wanted}) != len(wanted):
        raise InvalidInput("an output is asked for twice")
    for name, _ in wanted:
        if name not in served.output_names:
            known = ", ".join(served.output_names)[:500]
            raise InvalidInput(f"output {name[:100]!r} is none of this model's: {known}")
    return wanted


async def _respond(
    exchange: Exchange, request: "_Request | _SlowRequest", wanted: list[tuple[str, bool]], answer: Answer
) -> None:
    served, batch = answer.served, answer.batch
    parameters: dict[str, Any] = {"prediction_id": answer.prediction_id(0), "route": answer.route}
    if answer.fallback:
        parameters["fallback"] = True
    names = served.output_names
    outputs: list[_OutputTensor] = []
    blobs: list[bytes] = []
    stop = answer.start + answer.count
    for name, as_binary in wanted:
        if name not in names:
            raise RuntimeFailed(f"the fallback {served.version} has no output {name!r}")
        place = names.index(name)
        whole = batch.outputs[place]
        tensor = _OutputTensor(name, [answer.count, *whole.shape[1:]], tensors.datatype_of(whole.dtype))
        if as_binary:
            blobs.append(tensors.to_binary(whole[answer.start : stop]))
            tensor.parameters = {"binary_data_size": len(blobs[-1])}
        elif answer.count == 1:
            tensor.data = batch.output_rows[place][answer.start]
        else:
            tensor.data = [value for row in batch.output_rows[place][answer.start : stop] for value in row]
        outputs.append(tensor)
    head = _encode(_Response(served.model_id, served.version, parameters, outputs, request.id))
    if not blobs:
        await exchange.answer(head)
        return
    extra = [(_BINARY_LENGTH, str(len(head)).encode())]
    await exchange.answer(b"".join([head, *blobs]), kind=OCTETS, extra=extra)
