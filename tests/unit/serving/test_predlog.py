"""The prediction log: segments, torn tails, budgets, shipping, adoption."""

import asyncio
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from schemas.predictions import PredictionBatch
from services.kernel.errors import Overloaded, TooLarge, Unavailable
from services.serving.blocks import RowFormat
from services.serving.columns import Layout
from services.serving.outputs import Meaning
from services.serving.predlog import LogBudget, ModelLog, OverflowPolicy, Syncer
from services.serving.segments import BlockKind, LogName, Segment, orphans
from services.serving.shipper import Shipper
from tests.serving_models import TABLE, VECTOR
from tests.waiting import until

NAME = LogName("m", "replica-1", "0123456789abcdef", 0)
FORM = RowFormat(VECTOR)


def write(log: ModelLog, rows: int = 1, value: float = 1.0, form: RowFormat = FORM, error: str | None = None) -> int:
    """Append `rows` rows of x = `value`."""
    columns = Layout(VECTOR).from_arrays([np.full((rows, 4), value, dtype=np.float32)], rows)
    if form is not FORM:
        columns = Layout(TABLE).from_rows([(value, "http", 1, float("nan"))] * rows)
    probabilities = np.tile(np.array([0.2, 0.5, 0.3], dtype=np.float32), (rows, 1))
    return log.append(
        form,
        version="1.0.0",
        routes=["a", "b"] if rows > 1 else ["a"],
        route_codes=np.arange(rows, dtype=np.uint8) % 2 if rows > 1 else None,
        latencies_us=np.full(rows, 7, dtype=np.uint32),
        columns=columns,
        meaning=None if error else Meaning(np.ones(rows, dtype=np.int16), probabilities),
        error=error,
    )


def model_log(
    directory: Path, policy: OverflowPolicy = "reject", limit: int = 1 << 24, segment: int = 1 << 20
) -> ModelLog:
    return ModelLog(directory, "m", "replica-1", LogBudget(limit, policy), segment_bytes=segment)


class Broker:
    """Takes batches, or refuses as told."""

    def __init__(self) -> None:
        self.batches: list[PredictionBatch] = []
        self.refusal: Exception | None = None
        self.refused = 0
        self.largest_rows = 1 << 30
        self.largest_bytes = 1 << 30

    async def send(self, batch: PredictionBatch) -> None:
        await asyncio.sleep(0)
        if self.refusal is not None:
            self.refused += 1
            raise self.refusal
        if batch.rows.num_rows > self.largest_rows or len(batch.encode()) > self.largest_bytes:
            raise TooLarge("too large for a record")
        self.batches.append(PredictionBatch.decode(batch.encode()))

    def ids(self) -> list[str]:
        return [i for batch in self.batches for i in batch.prediction_ids()]


def test_a_torn_tail_is_not_read(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, NAME)
    segment.append(BlockKind.GAP, [b"one"])
    segment.append(BlockKind.GAP, [b"two"])
    segment.close()
    whole = segment.path.read_bytes()
    for cut in range(1, 20):
        segment.path.write_bytes(whole[:-cut])
        (adopted,) = orphans(tmp_path)
        assert [payload for _, payload, _ in adopted.blocks(adopted.start)] == [b"one"]
        adopted.close()


def test_a_damaged_block_in_the_middle_is_left_out(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, NAME)
    for text in (b"one", b"two", b"three"):
        segment.append(BlockKind.GAP, [text])
    segment.close()
    segment.path.write_bytes(segment.path.read_bytes().replace(b"two", b"twp"))
    (adopted,) = orphans(tmp_path)
    assert [payload for _, payload, _ in adopted.blocks(adopted.start)] == [b"one", b"three"]
    adopted.close()


def test_a_living_process_keeps_its_segments(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, NAME)
    assert orphans(tmp_path) == []
    segment.close()
    (adopted,) = orphans(tmp_path)
    assert (adopted.name, adopted.acknowledged) == (NAME, adopted.start)
    adopted.acknowledge(adopted.size)
    adopted.close()
    (again,) = orphans(tmp_path)
    assert again.acknowledged == again.size
    again.close()


def test_a_file_that_is_no_segment_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "x.segment").write_bytes(b"nonsense")
    assert orphans(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.damaged"]


def test_a_refused_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment.create(tmp_path, NAME)
    segment.append(BlockKind.GAP, [b"one"])
    real = os.pwrite
    written = iter([3])

    def half(fd: int, data: bytes, offset: int) -> int:
        for count in written:
            return real(fd, bytes(data)[:count], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", half)
    with pytest.raises(OSError, match="No space"):
        segment.append(BlockKind.GAP, [b"two"])
    monkeypatch.undo()
    segment.append(BlockKind.GAP, [b"three"])
    assert [payload for _, payload, _ in segment.blocks(segment.start)] == [b"one", b"three"]
    segment.close()


async def test_blocks_of_many_ticks_become_one_batch(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path)
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    assert [write(log, rows) for rows in (1, 3, 2)] == [0, 1, 4]
    write(log, error="model-failed")
    await until(lambda: broker.batches)
    (batch,) = broker.batches
    assert (batch.model_id, batch.replica, batch.first_sequence) == ("m", "replica-1", 0)
    assert batch.prediction_ids() == [f"{log.incarnation}-{i}" for i in range(7)]
    rows = batch.rows.to_pylist()
    assert [row["route"] for row in rows] == ["a", "a", "b", "a", "a", "b", "a"]
    assert [row["error"] for row in rows] == [None] * 6 + ["model-failed"]
    assert [row["y:label"] for row in rows] == ["dos"] * 6 + [None]
    assert rows[-1]["x:x"] == [1.0] * 4
    assert rows[-1]["y:probabilities"] is None
    await shipper.stop(5)
    assert os.listdir(tmp_path) == []


async def test_two_signatures_travel_apart_and_segments_are_deleted(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path, segment=2000)
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    for i in range(100):
        write(log, form=RowFormat(TABLE) if i % 10 == 5 else FORM)
    assert len(os.listdir(tmp_path)) > 2
    await shipper.stop(5)
    assert broker.ids() == [f"{log.incarnation}-{i}" for i in range(100)]
    assert {"x:x" in b.rows.schema.names for b in broker.batches} == {True, False}
    assert os.listdir(tmp_path) == []


async def test_a_broker_that_is_gone_loses_nothing(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path)
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    broker.refusal = Unavailable("the broker is gone")
    for _ in range(5):
        write(log)
    await until(lambda: broker.refused)
    broker.refusal = None
    write(log)
    await shipper.stop(10)
    assert broker.ids() == [f"{log.incarnation}-{i}" for i in range(6)]


async def test_a_disk_that_takes_no_note_of_what_was_shipped_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, log = Broker(), model_log(tmp_path)
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    write(log)

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    await until(lambda: shipper.shipped_rows == 1)
    monkeypatch.undo()
    write(log)
    await shipper.stop(10)
    assert broker.ids() == [f"{log.incarnation}-{i}" for i in range(2)]
    assert os.listdir(tmp_path) == []


async def test_what_does_not_fit_a_record_is_halved_and_at_last_announced(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path)
    broker.largest_rows = 3
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    write(log, 10)
    await until(lambda: len(broker.ids()) == 10)
    broker.largest_rows = 0
    write(log)
    await shipper.stop(5)
    assert broker.ids() == [f"{log.incarnation}-{i}" for i in range(10)]
    assert [(gap.first_sequence, gap.rows) for b in broker.batches for gap in b.gaps] == [(10, 1)]


async def test_long_texts_of_one_block_go_in_several_records(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path)
    shipper = Shipper(tmp_path, broker.send, log.budget)
    shipper.carry(log)
    broker.largest_bytes = 8 << 20
    rows = 400
    log.append(
        RowFormat(TABLE),
        version="1.0.0",
        routes=["a"],
        route_codes=None,
        latencies_us=np.full(rows, 7, dtype=np.uint32),
        columns=Layout(TABLE).from_rows([(1.0, f"{n:06d}" * 5000, n, 0.0) for n in range(rows)]),
        meaning=None,
        error="model-failed",
    )
    await until(lambda: len(broker.ids()) == rows, what="all rows")
    assert broker.ids() == [f"{log.incarnation}-{n}" for n in range(rows)]
    assert not any(batch.gaps for batch in broker.batches)
    assert 3 <= len(broker.batches) <= 8
    texts = [text for batch in broker.batches for text in batch.rows.column("x:service").to_pylist()]
    assert texts == [f"{n:06d}" * 5000 for n in range(rows)]
    await shipper.stop(5)


async def test_a_dead_process_is_inherited(tmp_path: Path) -> None:
    log = model_log(tmp_path, segment=1000)
    for _ in range(20):
        write(log)
    for segment in log.segments:
        segment.close()  # as the kernel does at kill -9
    broker, budget = Broker(), LogBudget(1 << 24, "reject")
    shipper = Shipper(tmp_path, broker.send, budget)
    assert shipper.adopt() == len(log.segments)
    assert budget.used_bytes > 0
    await until(lambda: not os.listdir(tmp_path))
    assert broker.ids() == [f"{log.incarnation}-{i}" for i in range(20)]
    assert budget.used_bytes == 0
    await shipper.stop(5)


def test_a_full_budget_rejects(tmp_path: Path) -> None:
    log = model_log(tmp_path, "reject", limit=1000)
    while not log.budget.full:
        write(log)
    written = log.next_sequence
    with pytest.raises(Overloaded):
        write(log)
    assert log.next_sequence == written
    assert log.segments[0].size < 2000


async def test_a_full_budget_sheds_and_announces_the_gap(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path, "shed", limit=1500)
    budget = log.budget
    for _ in range(50):
        write(log)
    shipper = Shipper(tmp_path, broker.send, budget)
    kept = 50 - budget.shed_rows
    assert 0 < kept < 50
    shipper.carry(log)
    budget.limit_bytes = 1 << 20
    write(log)
    await shipper.stop(5)
    assert len(broker.ids()) == kept + 1
    assert broker.ids()[-1] == f"{log.incarnation}-50"
    gaps = [gap for b in broker.batches for gap in b.gaps]
    assert [(gap.first_sequence, gap.rows) for gap in gaps] == [(kept, 50 - kept)]


async def test_skew_of_refused_requests_travels_without_rows(tmp_path: Path) -> None:
    broker, log = Broker(), model_log(tmp_path)
    shipper = Shipper(tmp_path, broker.send, LogBudget(1 << 24, "reject"))
    shipper.carry(log)
    write(log)
    await until(lambda: broker.batches)
    log.skew.count("new-feature")
    await shipper.stop(5)
    assert broker.batches[-1].skew == {"new-feature": 1}
    assert broker.batches[-1].rows.num_rows == 0
    assert broker.batches[-1].first_sequence == 1


async def test_answers_wait_for_the_disk_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    monkeypatch.setattr("os.fdatasync", counted)
    log, syncer = model_log(tmp_path), Syncer()
    done: list[int] = []
    for i in range(20):
        write(log)
        assert log.current is not None
        syncer.after_sync(log.current, lambda error, i=i: done.append(i if error is None else -1))  # type: ignore[misc]
    assert done == []
    await until(lambda: len(done) == 20)
    assert done == list(range(20))
    assert syncs == 1


async def test_an_answer_whose_rows_the_disk_did_not_keep_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fdatasync", broken)
    log, syncer = model_log(tmp_path), Syncer()
    write(log)
    assert log.current is not None
    errors: list[OSError | None] = []
    syncer.after_sync(log.current, errors.append)
    await until(lambda: errors)
    assert errors[0] is not None
    assert errors[0].errno == errno.EIO
