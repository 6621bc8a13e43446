"""`POST /v2/models/{m}[/versions/{v}]/infer`: JSON and binary tensors in and out."""

import asyncio
import time

from services.kernel.errors import TrimtabError
from services.serving.catalog import Catalog, Chosen
from services.serving.columns import Columns
from services.serving.exchange import LARGE_BODY_BYTES, OCTETS, Exchange
from services.serving.predict_api import Authorize
from services.serving.served import Answer
from services.serving.v2.answers import encode_answer
from services.serving.v2.requests import InferRequest, columns_of, read, wanted_outputs

_BINARY_LENGTH = b"inference-header-content-length"


class Inference:
    """Asks the models of a catalog."""

    def __init__(self, catalog: Catalog, authorize: Authorize, string_bytes: int) -> None:
        self._catalog = catalog
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
        if model not in self._catalog.models:
            await self._catalog.bring(model)
        chosen = self._choose(exchange, model, version, request)
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
        answer = await self._ask(exchange, chosen, columns, started)
        head, blobs = encode_answer(answer, wanted, request.id)
        if not blobs:
            await exchange.answer_compressed(head)
            return
        extra = [(_BINARY_LENGTH, str(len(head)).encode())]
        await exchange.answer_compressed(b"".join([head, *blobs]), kind=OCTETS, extra=extra)

    def _choose(self, exchange: Exchange, model: str, version: str | None, request: InferRequest) -> Chosen:
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
