"""One example of every message, with every field filled in."""

import math
from datetime import UTC, datetime

import pyarrow as pa

from schemas import commands, events, jobs
from schemas.base import Message
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import Gap, Prediction, PredictionBatch, batch_schema
from schemas.serving_options import (
    Circuit,
    Constant,
    InputContract,
    LogPolicy,
    QuantizationReport,
    Quantized,
    ServingOptions,
)

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_DIGEST = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
MODEL = "threat-classifier"
ARTIFACT = f"models/{MODEL}/{DIGEST}"
NOON = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 6, 14, 12, 5, 30, 250000, tzinfo=UTC)

SIGNATURE = Signature(
    inputs=(
        Feature(name="duration", dtype=DType.FLOAT32, nullable=True, minimum=0, maximum=60_000),
        Feature(name="protocol_type", dtype=DType.STRING, nullable=True, filler="?", categories=("icmp", "tcp", "udp")),
        Feature(name="count", dtype=DType.INT64, nullable=True, filler=-1),
        Feature(name="logged_in", dtype=DType.BOOL),
        Feature(name="rates", dtype=DType.FLOAT32, shape=(3,)),
        Feature(name="image", dtype=DType.UINT8, shape=(64, 64, 3)),
    ),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("normal", "dos"),
)

JOB = jobs.TrainingJob.model_validate(
    {
        "model_type": MODEL,
        "model_id": MODEL,
        "model_name": "STRIDE Threat Classifier",
        "dataset_config": {
            "train_path": "/data/train",
            "validation_path": "/data/validation",
            "test_path": "/data/test",
            "additional_paths": ["artifact:datasets/9f86.parquet"],
            "label_column": "label",
            "drop_columns": ["difficulty"],
            "label_map": {"neptune": "dos"},
            "validation_fraction": 0.1,
            "augmentation": {"enabled": True, "techniques": ["noise"]},
        },
        "model_config": {
            "architecture": "mlp",
            "layers": [64, 32],
            "dropout": 0.1,
            "optimizer": {"type": "adam", "learning_rate": 0.001, "decay": 0.0001},
            "loss": "categorical_crossentropy",
            "metrics": ["accuracy", "precision"],
        },
        "training_config": {
            "epochs": 50,
            "batch_size": 32,
            "early_stopping": {"enabled": True, "patience": 5, "monitor": "val_loss", "mode": "min"},
            "seed": 7,
        },
        "holdout": {
            "path": "artifact:datasets/9f86.parquet",
            "fraction": 0.3,
            "id_column": "prediction_id",
            "champion_version": "1.0.20260601",
            "champion_artifact": ARTIFACT,
        },
        "description": "after the drift of June",
        "changes": "newly labelled rows",
        "tags": {"team": "security"},
    }
)

WINDOW = events.Window(start=NOON, end=LATER, rows=1000)
SCORE = events.FeatureScore(
    feature="src_bytes",
    method="psi",
    score=0.31,
    expected=0.012,
    expected_sd=0.004,
    debiased=0.298,
    p_value=1e-9,
    significant=True,
    drifted=True,
    definition="sum (p - q) ln(p / q), 10 bins",
)
ROUTE = events.Route(
    name="champion", version="1.0.20260601", weight=90, artifact=ARTIFACT, manifest_digest=OTHER_DIGEST
)
QUANTIZED = Quantized(
    kind="int8",
    sha256=DIGEST,
    size=1000,
    report=QuantizationReport(
        kind="int8",
        metric="disagreement",
        rows=1000,
        loss=0.002,
        bound=0.01,
        max_difference=0.03,
        bytes_before=4000,
        bytes_after=1000,
        seconds_before=0.2,
        seconds_after=0.1,
    ),
)
ORIGIN = {"experiment_id": "e1", "trial": 3, "cycle_id": "c1"}


def prediction_batch() -> PredictionBatch:
    """Three rows: an answer, one whose inputs are missing, and one that failed; of a log that is a sample."""
    rows = _prediction_rows()
    flags = pa.array(["duration:range,user:unexpected", None, None], pa.utf8()).dictionary_encode()
    flags = pa.DictionaryArray.from_arrays(flags.indices.cast(pa.int16()), flags.dictionary)
    fields, columns = [*rows.schema, pa.field("flags", flags.type)], [*rows.columns, flags]
    return PredictionBatch(
        model_id=MODEL,
        replica="serving-0",
        incarnation="6f1c2a90b7e84d55",
        first_sequence=4096,
        gaps=(Gap(first_sequence=4000, rows=96, reason="shed"),),
        skew={"flag": 2},
        redacted=("user",),
        sample=0.25,
        sampled_out={"1.0.20260601": 12_300},
        rows=pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)),
    )


def _first_prediction_batch() -> PredictionBatch:
    return PredictionBatch(
        model_id=MODEL,
        replica="serving-0",
        incarnation="6f1c2a90b7e84d55",
        first_sequence=4096,
        gaps=(Gap(first_sequence=4000, rows=96, reason="shed"),),
        skew={"flag": 2},
        redacted=("user",),
        rows=_prediction_rows(),
    )


def _prediction_rows() -> pa.RecordBatch:
    columns = {
        "time": [NOON, NOON, LATER],
        "version": ["1.0.20260601", "1.0.20260614", "1.0.20260601"],
        "route": ["champion", "shadow", "champion"],
        "latency_us": [180, 95, 30],
        "error": [None, None, "invalid-input"],
        "x:duration": [1.5, math.nan, None],
        "x:protocol_type": ["tcp", "?", None],
        "x:count": [4, -1, None],
        "x:logged_in": [True, False, None],
        "x:rates": [[0.1, 0.2, 0.3], [0.0, math.nan, 1.0], None],
        "x:image": [{"mean": 127.0, "std": 12.5, "min": 0.0, "max": 255.0}] * 2 + [None],
        "y:label": ["dos", "normal", None],
        "y:score": [0.75, 0.5, None],
        "y:probabilities": [[0.25, 0.75], [0.5, 0.5], None],
    }
    schema = batch_schema(SIGNATURE)
    return pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


SAMPLES: tuple[Message, ...] = (
    commands.TrainingRequested(
        job_id="job-1", job=JOB, reason="drift", requested_by="loop", register_as_version=False, **ORIGIN
    ),
    commands.TrainingCancelled(job_id="job-1", reason="asked by a person"),
    events.JobStarted(job_id="job-1", model_id=MODEL, worker="trainer-0", **ORIGIN),
    events.JobProgress(
        job_id="job-1", model_id=MODEL, epoch=3, epochs=50, metrics={"loss": 0.2, "val_loss": 0.3}, eta_seconds=12.5
    ),
    events.JobSucceeded(
        job_id="job-1",
        model_id=MODEL,
        job=JOB,
        artifact=ARTIFACT,
        manifest_digest=OTHER_DIGEST,
        content_digest=DIGEST,
        dataset_digest=OTHER_DIGEST,
        metrics={"accuracy": 0.963},
        register_as_version=False,
        notes=("no validation data: 20 % of the training rows were kept apart",),
        comparison=events.Comparison(
            rows=1000,
            dataset_digest=OTHER_DIGEST,
            champion_version="1.0.20260601",
            champion_accuracy=0.78,
            challenger_accuracy=0.96,
            both_correct=770,
            only_champion=10,
            only_challenger=190,
            neither=30,
        ),
        requested_by="ada",
        **ORIGIN,
    ),
    events.JobFailed(job_id="job-1", model_id=MODEL, error="no-label-column", detail="name the label", **ORIGIN),
    events.JobCancelled(job_id="job-1", model_id=MODEL, reason="asked by a person", **ORIGIN),
    events.ModelRegistered(
        model_id=MODEL,
        version="1.0.20260614",
        artifact=ARTIFACT,
        manifest_digest=OTHER_DIGEST,
        content_digest=DIGEST,
        metrics={"accuracy": 0.963},
        parent_version="1.0.20260601",
        job_id="job-1",
        experiment_id="e1",
        cycle_id="c1",
    ),
    events.ModelPromoted(
        model_id=MODEL,
        version="1.0.20260614",
        from_stage=events.Stage.STAGING,
        to_stage=events.Stage.PRODUCTION,
        actor="loop",
        comment="better on the held-out rows",
        replaced_version="1.0.20260601",
    ),
    events.ModelArchived(
        model_id=MODEL, version="1.0.20260601", from_stage=events.Stage.PRODUCTION, actor="ann", comment="replaced"
    ),
    events.ModelAliased(
        model_id=MODEL,
        alias="champion",
        version="1.0.20260614",
        previous_version="1.0.20260601",
        actor="ann",
        comment="better on probes",
    ),
    events.VersionAnnotated(
        model_id=MODEL,
        version="1.0.20260614",
        description="Names the class of an attack.",
        changes="Learnt from June's labels.",
        tags={"team": "blue"},
        actor="ann",
    ),
    events.ApprovalDecided(
        model_id=MODEL,
        version="1.0.20260614",
        stage=events.Stage.PRODUCTION,
        decision=events.Decision.APPROVE,
        actor="bob",
        comment="looked at the confusion matrix",
    ),
    events.CheckRecorded(
        model_id=MODEL, version="1.0.20260614", check="bias-scan", passed=True, detail="run 17", actor="ci"
    ),
    events.PolicyChanged(
        model_id=MODEL, policy_revision=2, policy={"stages": {"production": {"approvals": 2}}}, actor="ann"
    ),
    events.ControlChanged(
        model_id=MODEL, control_id="dpia", control={"title": "Impact assessment", "state": "met"}, actor="carol"
    ),
    events.VersionSigned(model_id=MODEL, version="1.0.20260614", signer="release", key_sha256=DIGEST, actor="ann"),
    events.VersionBytesDropped(
        model_id=MODEL, version="1.0.20260601", size_bytes=41_000, reason="archived for over 365 days"
    ),
    events.VersionBytesReturned(
        model_id=MODEL, version="1.0.20260601", artifact=f"models/{MODEL}/{DIGEST}", size_bytes=41_000, actor="ann"
    ),
    events.SignerChanged(
        model_id="*",
        signer="release",
        key_sha256=DIGEST,
        trusted=False,
        reason="the laptop was stolen",
        actor="ann",
    ),
    events.DeploymentWanted(
        model_id=MODEL,
        revision=3,
        routes=(
            ROUTE.model_copy(update={"quantized": QUANTIZED}),
            ROUTE.model_copy(update={"name": "canary", "version": "1.0.20260614", "weight": 10.0}),
        ),
        shadow=ROUTE.model_copy(update={"name": "shadow", "weight": 0.0}),
        fallback=ROUTE.model_copy(update={"name": "fallback", "weight": 0.0}),
        fallback_model="threat-rules",
        fallback_constant=Constant(prediction="normal", probabilities={"normal": 0.9, "dos": 0.1}),
        sticky_key="user",
        options=ServingOptions(
            timeout_ms=250,
            inputs=InputContract(range="reject", category="flag"),
            log=LogPolicy(sample=0.5, redact={"src_bytes": "hash"}),
            circuit=Circuit(failures=3, open_seconds=5),
        ),
        actor="loop",
        reason="canary of cycle c1",
        since=NOON,
    ),
    events.ReplicaStatus(
        replica="serving-0",
        incarnation="6f1c2a90b7e84d55",
        url="http://127.0.0.1:3006",
        at=LATER,
        converged={MODEL: 3},
        versions=(
            events.LoadedVersion(
                model_id=MODEL,
                version="1.0.20260614",
                state="ready",
                detail="warm",
                since=NOON,
                requests=100,
                errors=1,
                memory_bytes=12_582_912,
            ),
        ),
        stopped=True,
    ),
    prediction_batch(),
    Prediction(
        model_id=MODEL,
        input={"duration": 1.5, "protocol_type": "tcp", "count": None},
        prediction="dos",
        probabilities=(0.25, 0.75),
        prediction_id="order-17",
        version="1.0.20260601",
        route="external",
        time=NOON,
        latency_ms=0.18,
        error="none",
    ),
    events.LabelsObserved(
        model_id=MODEL,
        labels=(
            events.Label(prediction_id="6f1c2a90b7e84d55-4096", label="dos"),
            events.Label(prediction_id="order-17", label=1.5),
        ),
    ),
    events.DriftFound(
        signal_id="s1",
        model_id=MODEL,
        version="1.0.20260601",
        state=events.SignalState.RAISED,
        window=WINDOW,
        baseline_rows=10_000,
        features=(SCORE,),
        judged_features=41,
        explanation="src_bytes: PSI 0.31",
        first_window=WINDOW,
        redacted_features=("user",),
    ),
    events.DriftOver(
        signal_id="s1", model_id=MODEL, version="1.0.20260614", window=WINDOW, explanation="as in the baseline"
    ),
    events.SchemaSkewFound(
        signal_id="s2",
        model_id=MODEL,
        version="1.0.20260601",
        window=WINDOW,
        features={"flag": 17},
        explanation="flag was missing in 17 of 1000 requests",
    ),
    events.PerformanceWorse(
        signal_id="s3",
        model_id=MODEL,
        version="1.0.20260601",
        state=events.SignalState.UPDATED,
        metric="accuracy",
        value=0.776,
        interval=(0.75, 0.8),
        baseline_value=0.992,
        labelled_rows=1000,
        window=WINDOW,
        explanation="accuracy 0.776",
    ),
    events.PerformanceRestored(
        signal_id="s3",
        model_id=MODEL,
        version="1.0.20260614",
        metric="accuracy",
        value=0.963,
        interval=(0.95, 0.97),
        baseline_value=0.96,
        labelled_rows=1000,
        window=WINDOW,
        explanation="accuracy 0.963",
    ),
    events.LoopStepped(
        model_id=MODEL,
        cycle_id="c1",
        step=events.LoopStep.PROVING,
        explanation="190 rows only the challenger got right, 10 only the champion",
        champion_version="1.0.20260601",
        challenger_version="1.0.20260614",
        job_id="job-1",
        facts={"p_value": 1e-30, "gain": 0.18, "rows": 1000, "passed": True, "notes": ["mcnemar"], "why": None},
    ),
    events.ApiKeyGranted(
        key_id="k1",
        name="build server",
        sha256=DIGEST,
        scopes=(events.Scope.READ, events.Scope.DEPLOY),
        model_prefixes=("threat-",),
    ),
    events.ApiKeyRevoked(key_id="k1"),
    events.Alert(
        alert_id="a1",
        model_id=MODEL,
        state="raised",
        severity="warning",
        title="Drift",
        detail="src_bytes",
        cause="s1",
    ),
)

EDITIONS = {
    events.DeploymentWanted.TYPE: "options",
    events.ReplicaStatus.TYPE: "memory",
    PredictionBatch.TYPE: "sampling",
}
"""Messages that got fields after their first release: the name of the newest edition."""

EARLIER: dict[str, Message] = {
    events.DeploymentWanted.TYPE: events.DeploymentWanted(
        model_id=MODEL,
        revision=3,
        routes=(ROUTE, ROUTE.model_copy(update={"name": "canary", "version": "1.0.20260614", "weight": 10.0})),
        shadow=ROUTE.model_copy(update={"name": "shadow", "weight": 0.0}),
        fallback=ROUTE.model_copy(update={"name": "fallback", "weight": 0.0}),
        sticky_key="user",
        actor="loop",
        reason="canary of cycle c1",
        since=NOON,
    ),
    events.ReplicaStatus.TYPE: events.ReplicaStatus(
        replica="serving-0",
        incarnation="6f1c2a90b7e84d55",
        url="http://127.0.0.1:3006",
        at=LATER,
        converged={MODEL: 3},
        versions=(
            events.LoadedVersion(
                model_id=MODEL,
                version="1.0.20260614",
                state="ready",
                detail="warm",
                since=NOON,
                requests=100,
                errors=1,
            ),
        ),
        stopped=True,
    ),
    PredictionBatch.TYPE: _first_prediction_batch(),
}
"""What the golden files of earlier editions mean, by the file's name."""


def golden_name(sample: Message) -> str:
    """The name of the golden file of a sample of the newest edition.

    >>> golden_name(events.ApiKeyRevoked(key_id="k1"))
    'trimtab.access.revoked.v1'
    """
    edition = EDITIONS.get(sample.TYPE)
    return sample.TYPE if edition is None else f"{sample.TYPE}+{edition}"
