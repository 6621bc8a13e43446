"""`POST /v2/models/{m}[/versions/{v}]/infer`: JSON and binary tensors in and out."""

import asyncio
import time

from services.kernel.errors import TrimtabError
from services.serving.ask_options import from_parameters
from services.serving.asking import Asking
from services.serving.exchange import LARGE_BODY_BYTES, OCTETS, Exchange
from services.serving.predict_api import Authorize
from services.serving.question import Question
from services.serving.v2.answers import encode_answer, in_json
from services.serving.v2.requests import columns_of, first_value, read, wanted_outputs

LARGE_ANSWER_ELEMENTS = 20_000
"""An answer with more elements in JSON is encoded in a thread: it would hold the event loop for milliseconds."""

_BINARY_LENGTH = b"inference-header-content-length"


class Inference:
    """The route that asks a model."""

    def __init__(self, asking: Asking, authorize: Authorize, string_bytes: int) -> None:
        self._asking = asking
        self._catalog = asking.catalog
        self._authorize = authorize
        self._string_bytes = string_bytes

    async def infer(self, exchange: Exchange, model: str, version: str | None) -> None:
        """Answer one request. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "predict", model)
        body = await exchange.body()
        started = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        header_length = exchange.binary_header_length
        request, binary = await asyncio.to_thread(read, body, header_length) if large else read(body, header_length)
        options = from_parameters(request.parameters, version)
        if model not in self._catalog.models:
            await self._asking.bring(model, options, started)
        chosen = self._asking.choose(exchange, model, version, first_value, (request, binary))
        served = chosen.served
        try:
            wanted = wanted_outputs(served, request)
            if large:
                with served.held():
                    columns = await asyncio.to_thread(columns_of, served, request, binary, self._string_bytes)
            else:
                columns = columns_of(served, request, binary, self._string_bytes)
        except TrimtabError as error:
            served.measures.failed(error.code, time.perf_counter() - started)
            raise
        needed = [output.name for output in request.outputs] if request.outputs else ()
        question = Question(columns.rows, None, columns, started, options, needed)
        answer = await self._asking.ask(exchange, chosen, question)
        if answer.served is not served and not needed:
            wanted = wanted_outputs(answer.served, request)
        if in_json(answer, wanted) > LARGE_ANSWER_ELEMENTS:
            head, blobs = await asyncio.to_thread(encode_answer, answer, wanted, request.id)
        else:
            head, blobs = encode_answer(answer, wanted, request.id)
        if not blobs:
            await exchange.answer_compressed(head)
            return
        extra = [(_BINARY_LENGTH, str(len(head)).encode())]
        await exchange.answer_compressed(b"".join([head, *blobs]), kind=OCTETS, extra=extra)
