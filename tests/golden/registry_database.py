"""Write the registry's database as the newest migration makes it, with a little of everything in it.

`python -m tests.golden.registry_database`. A file that is there is never written again.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from schemas.events import Decision, JobSucceeded, Scope, Stage
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import BASELINE_SAMPLE_NAME, Lineage, Manifest, ManifestFile, content_digest
from schemas.serving_options import QuantizationReport, Quantized
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.uow import UnitOfWork, Work
from services.registry import aliases, annotations, deployments, keys, stages, versions
from services.registry.governance import approvals, checks, controls, policies
from services.registry.governance.checklist import Control, ControlState
from services.registry.governance.policy import Policy
from services.registry.handlers import on_job_succeeded
from services.registry.keeping import signing
from services.registry.quantization import quantizer
from services.registry.quantization.quantizer import Subject
from tests.golden.samples import NOON

DATABASES = Path(__file__).parent / "databases"
MODEL = "threat-classifier"

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiLr6HPeA2PL+BsFQcgUR7u8OnlF0
ZNpwB4DvpeBVCgNR4+Gqb3Vhf91p1Q1w4M6nO3CORmn250HQRRBzhygkLA==
-----END PUBLIC KEY-----
"""

SIGNATURE = Signature(
    inputs=(Feature(name="duration", dtype=DType.FLOAT32), Feature(name="protocol", dtype=DType.STRING)),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("normal", "attack"),
)


def manifest(number: int) -> Manifest:
    """A version's record."""
    files = (ManifestFile(path="model.onnx", size=1000 + number, sha256=f"{number:064d}", is_model=True),)
    return Manifest(
        model_id=MODEL,
        model_type=MODEL,
        framework="keras",
        files=files,
        content_digest=content_digest(files),
        signature=SIGNATURE,
        metrics={"val_accuracy": 0.9 + number / 100},
        hyperparameters={"learning_rate": 0.001},
        lineage=Lineage(job_id=f"job-{number}", dataset_digest="d" * 64),
        created_at=NOON,
    )


def fill(uow: UnitOfWork) -> None:
    """Two versions, a canary that was promoted, a key, and a job that waits."""
    for number in (1, 2):
        record = manifest(number)
        versions.register(
            uow,
            record,
            manifest_digest=record.manifest_digest,
            artifact=f"models/{MODEL}/job-{number}.1",
            actor="trainer",
            version=f"1.{number}.20261122",
        )
        changes = "learnt from June's labels" if number > 1 else None
        stages.move(
            uow, MODEL, f"1.{number}.20261122", Stage.STAGING, actor="ada", comment="looks good", changes=changes
        )
    stages.move(uow, MODEL, "1.1.20261122", Stage.PRODUCTION, actor="ada")
    deployments.deploy(uow, MODEL, actor="ada")
    deployments.deploy(uow, MODEL, version="1.2.20261122", canary=10, actor="ada")
    stages.move(uow, MODEL, "1.2.20261122", Stage.PRODUCTION, actor="ada", comment="better")
    keys.create(uow, "ci", [Scope.READ], actor="ada")
    annotations.annotate(uow, MODEL, "1.1.20261122", description="the first of all", tags={"team": "blue"}, actor="ada")
    aliases.set_alias(uow, MODEL, "champion", "1.2.20261122", actor="ada", comment="better on probes")
    approvals.decide(uow, MODEL, "1.2.20261122", Stage.PRODUCTION, Decision.APPROVE, actor="bob", comment="seen")
    checks.record_check(uow, MODEL, "1.2.20261122", "bias-scan", True, actor="ci", detail="run 17")
    control = Control(title="Impact assessment", owner="carol", evidence=("memo 12",), state=ControlState.MET)
    controls.write_control(uow, MODEL, "dpia", control, actor="carol")
    policies.write(uow, MODEL, Policy(former="archive"), actor="ada")
    signing.trust(uow, "release", PUBLIC_KEY, actor="ada")
    sample = ManifestFile(path=BASELINE_SAMPLE_NAME, size=1000, sha256="b" * 64)
    record = manifest(2)
    subject = Subject("1.2.20261122", f"models/{MODEL}/job-2.1", SIGNATURE, record.files[0], sample)
    report = QuantizationReport(
        kind="int8",
        metric="disagreement",
        rows=1000,
        loss=0.002,
        bound=0.01,
        max_difference=0.03,
        bytes_before=1002,
        bytes_after=700,
        seconds_before=0.004,
        seconds_after=0.003,
    )
    quantizer.remember(uow.connection, subject, Quantized(kind="int8", sha256="a" * 64, size=700, report=report))
    waiting = manifest(3)
    on_job_succeeded(
        JobSucceeded(
            job_id="job-3",
            model_id=MODEL,
            job=TrainingJob(model_type=MODEL, dataset_config=DatasetConfig(train_path="/data/train.csv")),
            artifact=f"models/{MODEL}/job-3.1",
            manifest_digest=waiting.manifest_digest,
            content_digest=waiting.content_digest,
            dataset_digest="d" * 64,
            metrics={},
        ),
        uow,
    )


def main() -> None:
    """Dump it as SQL, named after the newest revision."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/registry.db", "registry")
        migrate(database, "services.registry.migrations")
        work = Work(database, "registry")
        database.write_now(lambda connection: work.within(connection, fill))
        revision = database.read_now(
            lambda connection: connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        )
        database.close()
        target = DATABASES / f"registry-{revision}.sql"
        if not target.exists():
            with closing(sqlite3.connect(f"{folder}/registry.db")) as connection:
                target.write_text("\n".join(dumped(connection)) + "\n")


def dumped(connection: sqlite3.Connection) -> Iterator[str]:
    """SQL that makes the database again: the index of words by its own statements, not by those of its inner tables."""
    for statement in connection.iterdump():
        if statement == "COMMIT;":
            yield from words_dumped(connection)
        if "version_words" not in statement and "writable_schema" not in statement:
            yield statement


def words_dumped(connection: sqlite3.Connection) -> Iterator[str]:
    """The index of words."""
    for (create,) in connection.execute("SELECT sql FROM sqlite_master WHERE name = 'version_words'"):
        yield f"{create};"
    for number, words in connection.execute("SELECT rowid, quote(words) FROM version_words"):
        yield f"INSERT INTO version_words(rowid, words) VALUES({number}, {words});"


if __name__ == "__main__":
    main()
