"""Rows per second from the topic to drift scores: Arrow batches of 256 rows x 20 float features, one process, SQLite.

Run: `python -m bench.monitor [--rows N] [--models M]`. Everything the service does is in it: decoding, watermarks, the
spool of raw rows, counting, scoring five statistics, calibrated verdicts, state and offsets saved in one transaction.
Beside it stands plain NumPy on the same rows (edges found by `searchsorted`, counted by `bincount`, nothing else), and
what each stage costs alone.
"""

import argparse
import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from bench.machine import describe, table
from schemas.baseline import build_baseline
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.manifest import BASELINE_NAME, MANIFEST_NAME, Manifest, ManifestFile, content_digest
from schemas.predictions import PredictionBatch, batch_schema
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.service import Service
from services.kernel.storage.local import LocalStore
from services.kernel.uow import UnitOfWork
from services.monitor import tables
from services.monitor.app import build
from services.monitor.calibration import Calibration
from services.monitor.layout import CountLayout
from services.monitor.scores import score_windows
from services.monitor.settings import MonitorSettings
from services.monitor.window import TumblingWindows
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import free_ports

FEATURES, BATCH_ROWS, BASELINE_ROWS, VERSION = 20, 256, 20_000, "1.0.0"
POOL = 64
SIGNATURE = Signature(
    inputs=tuple(Feature(name=f"f{i}", dtype=DType.FLOAT32) for i in range(FEATURES)),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("no", "yes"),
)


def pool(random: np.random.Generator) -> list[pa.RecordBatch]:
    """Distinct batches to draw from."""
    schema = batch_schema(SIGNATURE)
    batches = []
    for _ in range(POOL):
        rows, now = BATCH_ROWS, datetime.now(UTC)
        score = random.uniform(0.5, 1, rows).astype(np.float32)
        values = {
            "time": pa.array([now] * rows, pa.timestamp("us", tz="UTC")),
            "version": pa.array([VERSION] * rows).dictionary_encode(),
            "route": pa.array(["main"] * rows).dictionary_encode(),
            "latency_us": pa.array(np.full(rows, 900, np.uint32)),
            "error": pa.nulls(rows, schema.field("error").type),
            "y:label": pa.array(random.choice(["no", "yes"], rows).tolist()).dictionary_encode(),
            "y:score": pa.array(score),
            "y:probabilities": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(score, 2)), 2),
            **{f"x:f{i}": pa.array(random.normal(size=rows).astype(np.float32)) for i in range(FEATURES)},
        }
        batches.append(pa.record_batch([values[f.name].cast(f.type) for f in schema], schema=schema))
    return batches


def model_name(number: int) -> str:
    """One of the models."""
    return f"model-{number}"


async def fill(settings: MonitorSettings, batches: list[pa.RecordBatch], rows: int, models: int) -> None:
    """Put the batches into the topic."""
    producer = Producer(settings, "bench")
    await producer.start()
    sent: list[asyncio.Future[int]] = []
    for number in range(rows // BATCH_ROWS):
        name = model_name(number % models)
        message = PredictionBatch(
            model_id=name,
            replica="r1",
            incarnation=f"life-{name}",
            first_sequence=number // models * BATCH_ROWS,
            rows=batches[number % len(batches)],
        )
        content_type, body = encode(message)
        envelope = Envelope(
            id=new_id(), source="/bench", type=message.TYPE, time=datetime.now(UTC), content_type=content_type
        )
        sent.append(producer.send("predictions", body, key=name.encode(), headers=to_headers(envelope)))
        if len(sent) == 1000:
            await asyncio.gather(*sent)
            sent.clear()
    await asyncio.gather(*sent)
    await producer.stop()


def register(settings: MonitorSettings, service: Service, random: np.random.Generator, models: int) -> CountLayout:
    """A version with a baseline for each model, in the store and in the monitor's table."""
    baseline = build_baseline({f"f{i}": random.normal(size=BASELINE_ROWS) for i in range(FEATURES)}, SIGNATURE)
    store, data = LocalStore(settings.data_dir / "artifacts"), baseline.to_bytes()
    entry = ManifestFile(path=BASELINE_NAME, size=len(data), sha256=hashlib.sha256(data).hexdigest(), is_model=True)
    rows = []
    for number in range(models):
        manifest = Manifest(
            model_id=model_name(number),
            framework="onnx",
            files=(entry,),
            content_digest=content_digest([entry]),
            signature=SIGNATURE,
            created_at=datetime.now(UTC),
        )
        prefix = f"models/{model_name(number)}/1"
        store.put_bytes(f"{prefix}/{BASELINE_NAME}", data)
        store.put_bytes(f"{prefix}/{MANIFEST_NAME}", manifest.to_bytes())
        rows.append(
            {
                "model_id": model_name(number),
                "version": VERSION,
                "artifact": prefix,
                "manifest_digest": manifest.manifest_digest,
                "registered_at": time.time(),
            }
        )

    def write(uow: UnitOfWork) -> None:
        tables.upsert(uow.connection, tables.versions, rows)

    service.db.write_now(lambda connection: service.work.within(connection, write))
    return CountLayout(baseline)


async def counted(service: Service) -> int:
    """Rows whose counts are saved."""
    total = sa.select(sa.func.coalesce(sa.func.sum(tables.tallies.c.rows), 0))
    return int(await service.db.read(lambda connection: connection.execute(total).scalar_one()))


async def at_least(service: Service, rows: int) -> bool:
    """Whether that many are."""
    return await counted(service) >= rows


async def through_the_monitor(service: Service, rows: int) -> tuple[float, float]:
    """Rows per second, and per second of this process's CPU time, between the first save and the last."""
    for part in service._parts:
        await part.start()
    await until(lambda: at_least(service, 1), 60)
    already = await counted(service)
    first, worked = time.perf_counter(), time.process_time()
    await until(lambda: at_least(service, rows), 600)
    seconds, worked = time.perf_counter() - first, time.process_time() - worked
    for part in reversed(service._parts):
        await part.stop()
    return (rows - already) / seconds, (rows - already) / worked


def rate(work: Callable[[], object], rows: int) -> float:
    """Rows per second of `work`, the best of five."""
    best = min(_timed(work) for _ in range(5))
    return rows / best


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def stages(layout: CountLayout, batches: list[pa.RecordBatch]) -> list[dict[str, object]]:
    """What each stage does alone, on one thread, and plain NumPy on the same rows."""
    bodies = [
        PredictionBatch(model_id="m", replica="r", incarnation="i", first_sequence=i * BATCH_ROWS, rows=rows).encode()
        for i, rows in enumerate(batches)
    ]
    rows = BATCH_ROWS * len(batches)
    columns = [np.concatenate([b.column(f"x:f{i}").to_numpy() for b in batches]) for i in range(FEATURES)]
    edges = [np.asarray(feature.edges, np.float32) for feature in layout.features]
    windows, calibration = TumblingWindows(layout, 1000), Calibration(layout)
    block = layout.place(batches)
    closed = windows.add(block)
    scores = score_windows(layout, closed)

    def numpy_alone() -> None:
        for edge, column in zip(edges, columns, strict=True):
            np.bincount(np.searchsorted(edge, column), minlength=len(edge) + 1)

    return [
        {"what": "plain NumPy, 10 bins", "rows/s": rate(numpy_alone, rows)},
        {"what": "decode the batches", "rows/s": rate(lambda: [PredictionBatch.decode(b) for b in bodies], rows)},
        {"what": "find the cells (256 quantiles)", "rows/s": rate(lambda: layout.place(batches), rows)},
        {"what": "count into windows", "rows/s": rate(lambda: windows.add(block), rows)},
        {"what": "score five statistics", "rows/s": rate(lambda: score_windows(layout, closed), rows)},
        {
            "what": "judge",
            "rows/s": rate(lambda: [calibration.judge(scores, i) for i in range(len(closed))], rows),
        },
    ]


def main() -> None:
    """Print the machine, the rates and their ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=2_000_128)
    arguments.add_argument("--models", type=int, default=1)
    given = arguments.parse_args()
    rows, random = given.rows // BATCH_ROWS * BATCH_ROWS, np.random.default_rng(0)
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        port, controller_port = free_ports(2)
        jars = ensure_jars(jar_cache(Path.home() / ".cache" / "trimtab"))
        broker = LocalBroker(Path(folder) / "kafka", jars=jars, port=port, controller_port=controller_port)
        broker.start()
        try:
            settings = MonitorSettings(kafka_bootstrap=broker.bootstrap, data_dir=Path(folder))
            asyncio.run(apply_topics(settings))
            batches = pool(random)
            asyncio.run(fill(settings, batches, rows, given.models))
            service = build(settings)
            _migrate(service)
            layout = register(settings, service, random, given.models)
            reached, a_core = asyncio.run(through_the_monitor(service, rows))
            service.db.close()
        finally:
            broker.stop()
    alone = stages(layout, batches)
    plain = float(str(alone[0]["rows/s"]))
    print(
        f"{rows:,} rows x {FEATURES} features, batches of {BATCH_ROWS}, {given.models} model(s), N = {BASELINE_ROWS:,}"
    )
    whole = [
        {"what": "topic -> scores, state saved", "rows/s": reached, "asked": "300,000"},
        {"what": "the same, per second of CPU time", "rows/s": a_core, "asked": ""},
    ]
    print(table([*whole, *_padded(alone)]))
    print(f"ratio to plain NumPy on the same rows: {reached / plain:.2f}")
    slowest = min(alone[1:], key=lambda row: float(str(row["rows/s"])))
    print(f"the slowest stage is to {slowest['what']}; stages share one thread, the consumer and the broker the rest")


def _migrate(service: Service) -> None:
    from services.kernel.migrate import migrate

    migrate(service.db, "services.monitor.migrations")


def _padded(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**row, "asked": ""} for row in rows]


if __name__ == "__main__":
    main()
