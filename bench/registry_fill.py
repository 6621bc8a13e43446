"""A registry full of versions, written past the registry itself, as it would have written them.

python -m bench.registry_fill sqlite:////tmp/registry.db --versions 100000 --models 1000

The first model has a tenth of all versions, the others share the rest; every model has one version in production. A
version has seven metrics, three tags, a description of a dozen words and a manifest of twenty features.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.manifest import Lineage, Manifest, ManifestFile, content_digest
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.tables import revisions
from services.registry.search import text
from services.registry.tables import models, stage_moves, version_metrics, version_tags, versions
from services.registry.versions import record_digest

PAGE = 2000
BEGIN = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
METRICS = ("accuracy", "f1", "precision", "recall", "auc", "loss", "latency_ms")
WORDS = (
    *(
        "fraud",
        "threat",
        "churn",
        "price",
        "demand",
        "image",
        "traffic",
        "sensor",
        "login",
        "order",
        "weekly",
        "nightly",
    ),
    *("retrained", "larger", "smaller", "deeper", "calibrated", "pruned", "balanced", "cleaned", "labels", "features"),
    *(
        "weekly",
        "nightly",
        "window",
        "threshold",
        "north",
        "south",
        "mobile",
        "web",
        "partner",
        "candidate",
        "baseline",
        "holdout",
    ),
)
SIGNATURE = Signature(
    inputs=tuple(Feature(name=f"feature_{number}", dtype=DType.FLOAT32, nullable=True) for number in range(20)),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=("low", "middle", "high"),
)


def fill(database: Database, count: int, model_count: int, *, seed: int = 0) -> None:
    """Write `count` versions of `model_count` models into an empty, migrated database."""
    rng = random.Random(seed)
    ids = [f"model-{number:05d}" for number in range(model_count)]
    described = [
        {"id": each, "name": f"Model {each[6:]}", "model_type": "classifier", "created_at": BEGIN} for each in ids
    ]
    database.write_now(lambda connection: connection.execute(models.insert(), described))
    rows = _rows(rng, ids, count)
    while page := list(islice(rows, PAGE)):
        database.write_now(lambda connection, page=page: _write(connection, page))  # type: ignore[misc]
    database.write_now(lambda connection: _finish(connection, ids, count))


def manifest_of(model_id: str, number: int, rng: random.Random) -> Manifest:
    """A version's record; every number gives another content."""
    sha256 = hashlib.sha256(f"{model_id}-{number}".encode()).hexdigest()
    files = (
        ManifestFile(path="model.onnx", size=1_000_000 + number, sha256=sha256, is_model=True),
        ManifestFile(path="baseline.json", size=20_000, sha256=sha256[::-1]),
    )
    return Manifest(
        model_id=model_id,
        model_name=f"Model {model_id[6:]}",
        model_type="classifier",
        framework=rng.choice(("keras", "onnx", "sklearn", "xgboost")),
        files=files,
        content_digest=content_digest(files),
        signature=SIGNATURE,
        metrics={name: round(rng.random(), 4) for name in METRICS},
        hyperparameters={"learning_rate": 0.001, "epochs": 20, "layers": [64, 32], "seed": number},
        lineage=Lineage(
            job_id=f"job-{model_id}-{number}",
            dataset_digest=hashlib.sha256(str(number % 500).encode()).hexdigest(),
            experiment_id=f"exp-{number % 2000}",
            trial=number % 50,
        ),
        created_at=datetime.fromtimestamp(BEGIN + number * 600, UTC),
        description=" ".join(("version", *rng.choices(WORDS, k=12))),
        changes=" ".join(rng.choices(WORDS, k=5)),
        tags={"team": rng.choice(("red", "green", "blue")), "run": str(number), "tier": rng.choice("abcde")},
    )


def _rows(rng: random.Random, ids: list[str], count: int) -> Iterator[tuple[dict[str, Any], Manifest]]:
    """The rows of `versions`, oldest first, each with its manifest."""
    minors = dict.fromkeys(ids, 0)
    for number in range(1, count + 1):
        model_id = ids[0] if number % 10 == 0 else ids[1 + (number - number // 10) % (len(ids) - 1)]
        minors[model_id] += 1
        manifest = manifest_of(model_id, number, rng)
        at = BEGIN + number * 600
        day = int(f"{datetime.fromtimestamp(at, UTC):%Y%m%d}")
        stage = (
            "production" if number > count - len(ids) and number % 10 else rng.choice(("archived",) * 8 + ("draft",))
        )
        yield (
            {
                "model_id": model_id,
                "version": f"1.{minors[model_id]}.{day}",
                "seq": number,
                "major": 1,
                "minor": minors[model_id],
                "patch": day,
                "stage": "staging" if stage == "draft" and rng.random() < 0.3 else stage,
                "stage_since": at,
                "artifact": f"models/{model_id}/{number:032x}",
                "manifest": manifest.to_bytes().decode(),
                "manifest_digest": manifest.manifest_digest,
                "content_digest": manifest.content_digest,
                "record_digest": record_digest(manifest),
                "size_bytes": sum(file.size for file in manifest.files),
                "parent_version": None,
                "registered_at": at,
                "registered_by": "bench",
                "framework": manifest.framework,
                "description": manifest.description,
                "changes": manifest.changes,
                "tags": json.dumps(manifest.tags, sort_keys=True),
                "job_id": manifest.lineage.job_id,
                "experiment_id": manifest.lineage.experiment_id,
                "dataset_digest": manifest.lineage.dataset_digest,
            },
            manifest,
        )


def _write(connection: sa.Connection, page: list[tuple[dict[str, Any], Manifest]]) -> None:
    connection.execute(versions.insert(), [row for row, _ in page])
    for table, kind in ((version_metrics, "metrics"), (version_tags, "tags")):
        named = [
            {"seq": row["seq"], "name": name, "value": value, **({"head": value[:64]} if kind == "tags" else {})}
            for row, manifest in page
            for name, value in getattr(manifest, kind).items()
        ]
        connection.execute(table.insert(), named)
    for row, manifest in page:
        said = (manifest.model_name, manifest.description, manifest.changes, manifest.tags)
        text.write_words(connection, row["seq"], row["model_id"], *said)
    moves = [
        {
            **{name: row[name] for name in ("model_id", "version")},
            **{"from_stage": None, "to_stage": row["stage"], "at": row["registered_at"]},
            **{"actor": "bench", "comment": "registered", "replaced_version": None},
        }
        for row, _ in page
    ]
    connection.execute(stage_moves.insert(), moves)


def _finish(connection: sa.Connection, ids: list[str], count: int) -> None:
    """Let the registry go on from here: numbers of the audit and the models, statistics of the tables."""
    connection.execute(revisions.insert(), [{"kind": "audit", "entity": "", "revision": count}])
    connection.execute(revisions.insert(), [{"kind": "model", "entity": each, "revision": count} for each in ids])
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE")  # as its autovacuum does by itself; nobody does it for SQLite


def main() -> None:
    """Fill the database at a URL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of an empty database, for example sqlite:////tmp/registry.db")
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=1_000)
    options = parser.parse_args()
    database = Database(options.url, "registry")
    began = time.perf_counter()
    try:
        migrate(database, "services.registry.migrations")
        fill(database, options.versions, options.models)
    finally:
        database.close()
    print(f"{options.versions:,} versions of {options.models:,} models in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
