"""`POST /mlops/predictions`: an edge device hands over rows of its log.

The answer is 200 only when Kafka has the rows, so the device may delete them; whatever else it hears, it sends them
again with the same numbers, and the monitor counts each once. What waits for Kafka is bounded in bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from schemas.edge import EdgeReceipt, EdgeUpload
from schemas.predictions import PredictionBatch
from schemas.serving_options import LogPolicy
from services.kernel.errors import InvalidInput, Overloaded, TooLarge, TrimtabError, Unavailable
from services.kernel.http.fields import field_of, sentence_of
from services.kernel.telemetry import get_logger
from services.serving.edge.rows import EdgeForm, skewed_rows
from services.serving.edge.versions import KnownVersion, KnownVersions
from services.serving.exchange import Exchange
from services.serving.inputs import Malformed
from services.serving.predict_api import Authorize
from services.serving.redaction import Tokens
from services.serving.settings import ServingSettings

log = get_logger(__name__)

PATH = "/mlops/predictions"

_ROWS = Counter("ml_edge_rows_total", "Predictions of edge devices that Kafka has acknowledged")
_REFUSED = Counter("ml_edge_uploads_refused_total", "Uploads of edge devices that were refused", ["code"])
_SKEWED = Counter("ml_edge_clock_skewed_rows_total", "Predictions of edge devices whose time can't be right")
_WAITING = Gauge("ml_edge_waiting_bytes", "Uploads of edge devices that wait for Kafka")

_BATCH_BYTES = 4 << 20
_BUSY_SECONDS = 5.0
_FORMS = 64

Send = Callable[[PredictionBatch], Awaitable[None]]
PolicyOf = Callable[[str], LogPolicy | None]
"""How a model's rows are to be logged; None: that is not known yet."""


class EdgeUploads:
    """The route."""

    def __init__(
        self,
        settings: ServingSettings,
        authorize: Authorize,
        versions: KnownVersions,
        policy_of: PolicyOf,
        tokens: Tokens,
        send: Send,
    ) -> None:
        self._authorize = authorize
        self._versions = versions
        self._policy_of = policy_of
        self._tokens = tokens
        self._send = send
        self._max_rows = settings.serving_edge_rows
        self._waiting_limit = settings.serving_edge_waiting_bytes
        self._wait_seconds = settings.serving_edge_wait_seconds
        self._tolerance = timedelta(seconds=settings.serving_edge_clock_skew_seconds)
        self._string_bytes = settings.serving_string_bytes
        self._waiting_bytes = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._forms: dict[object, EdgeForm] = {}

    async def accept(self, exchange: Exchange) -> None:
        """Answer one upload. Raises `TrimtabError`."""
        try:
            receipt = await self._accepted(exchange)
        except TrimtabError as error:
            _REFUSED.labels(error.code).inc()
            raise
        await exchange.answer(receipt.model_dump_json().encode())

    async def _accepted(self, exchange: Exchange) -> EdgeReceipt:
        self._authorize(exchange.authorization, "predict", None)  # before a stranger's body is read
        size = exchange.content_length
        self._take(size)
        try:
            body = await exchange.body()
            if len(body) > size:  # it came compressed, or without its length
                self._take(len(body) - size)
                size = len(body)
            upload = await asyncio.to_thread(read_upload, body, self._max_rows)
            self._authorize(exchange.authorization, "predict", upload.model_id)
            policy = self._policy_of(upload.model_id)
            if policy is None:
                raise Unavailable("this server has just started and is still reading how rows are logged; try again")
            known = await self._versions.get(
                upload.model_id, upload.version, upload.manifest_digest, upload.signature_digest
            )
            pieces = await asyncio.to_thread(self._pieces, upload, known, policy)
        finally:
            self._give_back(size)
        await self._ship(pieces)
        return self._receipt(upload, known)

    def _take(self, size: int) -> None:
        """Room for so many bytes. Raises `Overloaded`."""
        if self._waiting_bytes + size > self._waiting_limit:
            raise Overloaded("too many uploads wait for Kafka", retry_after_seconds=_BUSY_SECONDS)
        self._waiting_bytes += size
        _WAITING.set(self._waiting_bytes)

    def _give_back(self, size: int) -> None:
        self._waiting_bytes -= size
        _WAITING.set(self._waiting_bytes)

    def _pieces(self, upload: EdgeUpload, known: KnownVersion, policy: LogPolicy) -> list[PredictionBatch]:
        key = known.manifest_digest, tuple(sorted(policy.redact.items()))
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            form = EdgeForm(known.signature, policy.redact, self._tokens, self._string_bytes)
            self._forms[key] = form
        return pieces_of(form, upload)

    async def _ship(self, pieces: list[PredictionBatch]) -> None:
        """Return when the broker has all pieces. What is given up on may still arrive: a repeat, later."""
        size = sum(int(piece.rows.nbytes) for piece in pieces)
        self._take(size)
        task = asyncio.get_running_loop().create_task(self._send_all(pieces), name="edge-upload")
        self._sending.add(task)
        task.add_done_callback(lambda done: self._sent(done, size))
        await asyncio.wait([task], timeout=self._wait_seconds)
        if not task.done():
            raise Unavailable("Kafka has not taken the rows yet: keep them and try again")
        task.result()

    async def _send_all(self, pieces: list[PredictionBatch]) -> None:
        for piece in pieces:
            await self._send(piece)

    def _sent(self, task: asyncio.Task[None], size: int) -> None:
        self._sending.discard(task)
        self._give_back(size)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, TrimtabError):
            log.error("edge_upload_failed", error=repr(error))

    def _receipt(self, upload: EdgeUpload, known: KnownVersion) -> EdgeReceipt:
        now = datetime.now(UTC)
        skewed = skewed_rows(upload, known.created_at, now, self._tolerance)
        offset = (upload.sent_at - now).total_seconds()
        _ROWS.inc(len(upload.rows))
        if skewed:
            _SKEWED.inc(skewed)
            log.warning(
                "edge_clock_skewed",
                model_id=upload.model_id,
                replica=upload.replica,
                rows=skewed,
                clock_offset_seconds=round(offset, 3),
            )
        return EdgeReceipt(
            acknowledged=upload.end, rows=len(upload.rows), clock_offset_seconds=offset, clock_skewed_rows=skewed
        )


def read_upload(body: bytes, max_rows: int) -> EdgeUpload:
    """The upload in a body. Raises `Malformed`, `TooLarge`, and `InvalidInput` naming the fields."""
    try:
        upload = EdgeUpload.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:10]
        if found[0]["type"] == "json_invalid":
            raise Malformed(f"the body is not JSON: {found[0]['msg'][:200]}") from error
        told = "; ".join(
            f"{field_of(e['loc'], e['type'])}: {sentence_of(e['type'], e['msg'], e.get('ctx', {}))}" for e in found
        )
        raise InvalidInput(f"the upload does not fit: {told[:2000]}") from error
    if len(upload.rows) > max_rows:
        raise TooLarge(f"the upload has {len(upload.rows)} rows; at most {max_rows} are taken at once")
    return upload


def pieces_of(form: EdgeForm, upload: EdgeUpload) -> list[PredictionBatch]:
    """The upload in as many batches as records need; the first has its gaps and counts. Raises `InvalidInput`.

    Halves are made anew: a slice of a batch would hold the texts of all of it.
    """
    batch = form.batch(upload)
    if batch.rows.nbytes <= _BATCH_BYTES or len(upload.rows) < 2:
        return [batch]
    half = len(upload.rows) // 2
    first = upload.model_copy(update={"rows": upload.rows[:half]})
    after = {"rows": upload.rows[half:], "first_sequence": upload.first_sequence + half, "gaps": (), "refused": {}}
    return [*pieces_of(form, first), *pieces_of(form, upload.model_copy(update=after))]
