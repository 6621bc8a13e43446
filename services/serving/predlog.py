"""The prediction log of one model on one replica: every answered row is on disk before its answer leaves.

One log lives as long as the process and has an incarnation of its own, a random id; rows are numbered from 0 within
it, and a row's prediction id is `INCARNATION-NUMBER`. Disk use is bounded by a budget that all logs of the process
share. Past it, or when the disk refuses a write, the policy decides: `reject` fails the requests, `shed` answers them
and announces the missing rows as a gap. Loss is never silent.

The model's owner may have only a share of the answers logged (`services.serving.sampling`), and features redacted
(`services.serving.redaction`). Both are rules of the log: whoever appends to it, shadow or cache included, keeps them.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.predictions import Gap
from schemas.serving_options import LogPolicy
from services.kernel.errors import Overloaded
from services.kernel.telemetry import get_logger
from services.serving.blocks import Latencies, RowFormat
from services.serving.columns import Columns
from services.serving.outputs import Meaning
from services.serving.redaction import Tokens
from services.serving.segments import BlockKind, LogName, Segment
from services.serving.skew import Skew

log = get_logger(__name__)

OverflowPolicy = Literal["reject", "shed"]


@dataclass
class LogBudget:
    """Bytes on disk that all logs of the process may hold, and what happens past that."""

    limit_bytes: int
    policy: OverflowPolicy
    used_bytes: int = 0
    shed_rows: int = 0
    sampled_out_rows: int = 0
    refused_requests: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be written."""
        return self.used_bytes >= self.limit_bytes

    def admit(self) -> None:
        """Refuse a request early when its rows could not be logged. Raises `Overloaded`."""
        if self.used_bytes >= self.limit_bytes and self.policy == "reject":
            self.refused_requests += 1
            raise Overloaded(
                "the prediction log is full because Kafka has not taken it yet; predictions are refused so that none "
                "goes unlogged",
                retry_after_seconds=5.0,
            )


class ModelLog:
    """The log of one model. Lives on the event loop.

    `on_rows` is called after every write, and with 0 when there is something to tell without rows; the shipper listens.
    `sampled_out` counts the rows that were answered and not logged, by version, since the log began.
    """

    def __init__(
        self,
        directory: Path,
        model_id: str,
        replica: str,
        budget: LogBudget,
        *,
        segment_bytes: int = 8 << 20,
        tokens: Tokens | None = None,
    ) -> None:
        self.model_id = model_id
        self.replica = replica
        self.incarnation = uuid.uuid4().hex[:16]
        self.next_sequence = 0
        self.skew = Skew()
        self.segments: list[Segment] = []
        self.on_rows: Callable[[int], None] = _nobody_listens
        self._directory = directory
        self.budget = budget
        self._segment_bytes = segment_bytes
        self._next_number = 0
        self._signatures: dict[str, int] = {}
        self._gap: Gap | None = None
        self._complained_at = -60.0
        self._tokens = tokens or Tokens()
        self._policy = LogPolicy()
        self._redacts = False
        self._redacted_forms: dict[str, RowFormat] = {}
        self.sample = 1.0
        self.sampled_out: dict[str, int] = {}
        self.next_sampled_out = 0
        self.last_form: RowFormat | None = None

    def obey(self, policy: LogPolicy) -> None:
        """What of the model's predictions is logged from now on."""
        if policy == self._policy:
            return
        if "hash" in policy.redact.values() and not self._tokens.has_key:
            log.warning(
                "redaction_without_key",
                model_id=self.model_id,
                effect="tokens of this process can be compared with no other's",
                remedy="set TRIMTAB_SERVING_REDACTION_KEY to the same secret on every replica",
            )
        self._policy = policy
        self._redacts = bool(policy.redact)
        self._redacted_forms = {}
        self.sample = policy.sample

    def leave_out(self, form: RowFormat, version: str, rows: int) -> int:
        """Count `rows` that were answered and are not logged; the number of the first among all such rows."""
        first = self.next_sampled_out
        self.next_sampled_out += rows
        self.sampled_out[version] = self.sampled_out.get(version, 0) + rows
        self.budget.sampled_out_rows += rows
        self.last_form = self._form(form)
        self.on_rows(0)
        return first

    def _form(self, form: RowFormat) -> RowFormat:
        if not self._redacts:
            return form
        redacted = self._redacted_forms.get(form.digest)
        if redacted is None:
            redacted = RowFormat(form.signature, self._policy.redact, self._tokens)
            self._redacted_forms[form.digest] = redacted
        return redacted

    def append(
        self,
        form: RowFormat,
        *,
        version: str,
        routes: list[str],
        route_codes: NDArray[np.uint8] | None,
        latencies_us: Latencies,
        columns: Columns,
        meaning: Meaning | None,
        error: str | None = None,
    ) -> int:
        """Write rows and return the sequence number of the first. Raises `Overloaded` under the policy `reject`."""
        first = self.next_sequence
        form = self.last_form = self._form(form)
        if self.budget.full:
            return self._shed(columns.rows, "the budget of the prediction log is used up")
        try:
            segment = self._segment()
            before = segment.size
            try:
                if self._gap is not None:
                    segment.append(BlockKind.GAP, [self._gap.model_dump_json().encode()])
                    self._gap = None
                parts = form.encode(
                    first_sequence=first,
                    time_us=time.time_ns() // 1000,
                    signature=self._signature(segment, form),
                    version=version,
                    routes=routes,
                    route_codes=route_codes,
                    latencies_us=latencies_us,
                    columns=columns,
                    meaning=meaning,
                    error=error,
                    sample=self.sample,
                    sampled_out=self.sampled_out.get(version, 0),
                )
                segment.append(BlockKind.ROWS, parts)
            finally:
                self.budget.used_bytes += segment.size - before
        except OSError as trouble:
            return self._shed(columns.rows, f"the disk refused a write: {trouble.strerror}")
        self.next_sequence = first + columns.rows
        self.on_rows(columns.rows)
        return first

    def announce_gap(self) -> None:
        """Write a pending gap, if the disk takes it, though no row follows."""
        if self._gap is None or self.budget.full:
            return
        try:
            segment = self._segment()
            before = segment.size
            segment.append(BlockKind.GAP, [self._gap.model_dump_json().encode()])
        except OSError:
            return
        self.budget.used_bytes += segment.size - before
        self._gap = None
        self.on_rows(0)

    @property
    def current(self) -> Segment | None:
        """The segment being written."""
        return self.segments[-1] if self.segments and not self.segments[-1].sealed else None

    def seal(self) -> None:
        """End the current segment, so that it can be deleted once acknowledged."""
        if self.current is not None:
            self.segments[-1].sealed = True
            self._signatures.clear()

    def _segment(self) -> Segment:
        current = self.current
        if current is not None and current.size < self._segment_bytes:
            return current
        name = LogName(self.model_id, self.replica, self.incarnation, self._next_number)
        segment = Segment.create(self._directory, name)
        self._next_number += 1
        self.seal()
        self.segments.append(segment)
        self.budget.used_bytes += segment.size
        return segment

    def _signature(self, segment: Segment, form: RowFormat) -> int:
        number = self._signatures.get(form.digest)
        if number is None:
            kind, payload = form.declaration
            segment.append(kind, [payload])
            number = self._signatures[form.digest] = len(self._signatures)
        return number

    def _shed(self, rows: int, why: str) -> int:
        now = time.monotonic()
        if now - self._complained_at > 10:
            self._complained_at = now
            log.error("prediction_not_logged", model_id=self.model_id, why=why, policy=self.budget.policy)
        if self.budget.policy == "reject":
            raise Overloaded(f"the prediction could not be logged and is refused: {why}", retry_after_seconds=5.0)
        first = self.next_sequence
        self.next_sequence += rows
        self.budget.shed_rows += rows
        begin = self._gap.first_sequence if self._gap is not None else first
        self._gap = Gap(first_sequence=begin, rows=self.next_sequence - begin, reason=why)
        return first


class Syncer:
    """Holds answers back until the disk has their rows: one `fdatasync` for all that queued during the last one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Segment, Callable[[OSError | None], None]]] = []
        self._task: asyncio.Task[None] | None = None
        # Its own, since the default executor's few threads may all be reading large bodies.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sync")

    def after_sync(self, segment: Segment, then: Callable[[OSError | None], None]) -> None:
        """Call `then(None)` once all that was appended to `segment` is on the device, or `then(error)`."""
        self._waiting.append((segment, then))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            trouble: dict[int, OSError] = {}
            for segment in {id(segment): segment for segment, _ in group}.values():
                try:
                    await asyncio.get_running_loop().run_in_executor(self._executor, segment.sync)
                except OSError as error:
                    trouble[id(segment)] = error
            for segment, then in group:
                then(trouble.get(id(segment)))
        self._task = None


def _nobody_listens(rows: int) -> None:
    """No shipper yet."""
