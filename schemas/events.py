"""Events: what happened. One frozen model per message; a released model never changes its meaning.

Longer than other modules, since it is a catalogue: one message after the other, by topic, without any logic.
"""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from schemas.base import Document, JsonValue, Measured, Message, Name, UtcTime, Version
from schemas.jobs import TrainingJob
from schemas.serving_options import Constant, Quantized, ServingOptions

Metrics = dict[str, Measured]


# training-events --------------------------------------------------------------------------------------------------


class JobStarted(Message):
    """A trainer has taken the job."""

    TYPE: ClassVar[str] = "trimtab.job.started.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    model_id: Name
    worker: str
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


class JobProgress(Message):
    """One epoch is done; `epoch` counts from 1."""

    TYPE: ClassVar[str] = "trimtab.job.progress.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    model_id: Name
    epoch: int
    epochs: int
    metrics: Metrics
    eta_seconds: float | None = None


class Comparison(Document):
    """Challenger against champion on the same `rows` held-out rows, which neither was trained on.

    `both_correct + only_champion + only_challenger + neither == rows`.
    """

    rows: int
    dataset_digest: str
    champion_version: Version
    champion_accuracy: float
    challenger_accuracy: float
    both_correct: int
    only_champion: int
    only_challenger: int
    neither: int


class JobSucceeded(Message):
    """The job is done and its model directory lies complete in the artifact store under `artifact`.

    `requested_by` is who asked for the training: their approval of what came of it is not a second pair of eyes.
    """

    TYPE: ClassVar[str] = "trimtab.job.succeeded.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    model_id: Name
    job: TrainingJob
    artifact: str
    manifest_digest: str
    content_digest: str
    dataset_digest: str
    metrics: Metrics
    register_as_version: bool = True
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None
    requested_by: str = ""
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


class JobFailed(Message):
    """The job ended without a model; `error` is a stable code, `detail` says what to do."""

    TYPE: ClassVar[str] = "trimtab.job.failed.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    model_id: Name
    error: str
    detail: str
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


class JobCancelled(Message):
    """The job was stopped on request."""

    TYPE: ClassVar[str] = "trimtab.job.cancelled.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    model_id: Name
    reason: str = ""
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


# model-events -----------------------------------------------------------------------------------------------------


class Stage(StrEnum):
    """Where a version stands. Moves go forward or to archived; archived may return to production (rollback)."""

    DRAFT = "draft"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelRegistered(Message):
    """A version exists and its artifact has been verified."""

    TYPE: ClassVar[str] = "trimtab.model.registered.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    artifact: str
    manifest_digest: str
    content_digest: str
    metrics: Metrics = {}
    parent_version: Version | None = None
    job_id: Name | None = None
    experiment_id: Name | None = None
    cycle_id: str | None = None


class ModelPromoted(Message):
    """A version moved to another stage. `replaced_version` left production by the same decision."""

    TYPE: ClassVar[str] = "trimtab.model.promoted.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    from_stage: Stage
    to_stage: Stage
    actor: str
    comment: str = ""
    replaced_version: Version | None = None


class ModelArchived(Message):
    """A version was archived: kept for ever, no longer offered."""

    TYPE: ClassVar[str] = "trimtab.model.archived.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    from_stage: Stage
    actor: str
    comment: str = ""


class ModelAliased(Message):
    """An alias of a model points to another version now; without `version` it is gone."""

    TYPE: ClassVar[str] = "trimtab.model.aliased.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    alias: Name
    version: Version | None = None
    previous_version: Version | None = None
    actor: str
    comment: str = ""


class VersionAnnotated(Message):
    """A version's description, changes or tags were written anew; the manifest, and every digest, stays."""

    TYPE: ClassVar[str] = "trimtab.model.annotated.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    description: str
    changes: str
    tags: dict[str, str] = {}
    actor: str


class Decision(StrEnum):
    """What somebody says about moving a version to a stage."""

    ASK = "ask"
    APPROVE = "approve"
    REJECT = "reject"


class ApprovalDecided(Message):
    """Approval was asked for, given or refused."""

    TYPE: ClassVar[str] = "trimtab.approval.decided.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    stage: Stage
    decision: Decision
    actor: str
    comment: str = ""


class CheckRecorded(Message):
    """The result of a named check of a version (a test suite, a scan, a review) was recorded."""

    TYPE: ClassVar[str] = "trimtab.check.recorded.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    check: Name
    passed: bool
    detail: str = ""
    actor: str


class PolicyChanged(Message):
    """The rules by which versions of a model (`*`: of every model without its own) move between stages are new."""

    TYPE: ClassVar[str] = "trimtab.policy.changed.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name | Literal["*"]
    policy_revision: int
    policy: dict[str, JsonValue]
    actor: str


class ControlChanged(Message):
    """An entry of a model's compliance checklist was written anew, or removed (no `control`)."""

    TYPE: ClassVar[str] = "trimtab.control.changed.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    control_id: Name
    control: dict[str, JsonValue] | None = None
    actor: str


class VersionSigned(Message):
    """A verified signature of a version was added; `key_sha256` is that of the signer's public key (DER)."""

    TYPE: ClassVar[str] = "trimtab.model.signed.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    signer: str
    key_sha256: str
    actor: str


class VersionBytesDropped(Message):
    """The retention policy gave up an archived version's bytes; the record stays for ever."""

    TYPE: ClassVar[str] = "trimtab.version-bytes.dropped.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    size_bytes: int
    reason: str


class VersionBytesReturned(Message):
    """Somebody sent the bytes again that the retention policy gave up; they lie under `artifact`."""

    TYPE: ClassVar[str] = "trimtab.version-bytes.returned.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    version: Version
    artifact: str
    size_bytes: int
    actor: str


class SignerChanged(Message):
    """A public key counts as that of `signer` from now on, or (not `trusted`) never again: then no signature by it is
    valid any more, of whatever version. `key_sha256` is of the key (DER)."""

    TYPE: ClassVar[str] = "trimtab.signer.changed.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Literal["*"] = "*"
    signer: str
    key_sha256: str
    trusted: bool
    reason: str = ""
    actor: str


# deployments, deployment-status -----------------------------------------------------------------------------------


class Route(Document):
    """A share of a model's traffic. `name` is what the log and the answer call it."""

    name: Name
    version: Version
    weight: float = Field(ge=0, le=100)
    artifact: str
    manifest_digest: str
    quantized: Quantized | None = None


class DeploymentWanted(Message):
    """The whole wanted state of one model's serving; the newest revision wins. No routes: nothing is served.

    Weights are percent and add up to 100. `sticky_key` names the feature or header that pins a caller to a route. When
    a version fails, is too slow or its circuit is open, its request falls back: to the version `fallback`, then to
    `fallback_model`, then to `fallback_constant`, whatever of them there is.
    """

    TYPE: ClassVar[str] = "trimtab.deployment.wanted.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    revision: int
    routes: tuple[Route, ...]
    shadow: Route | None = None
    fallback: Route | None = None
    fallback_model: Name | None = None
    fallback_constant: Constant | None = None
    sticky_key: str | None = None
    options: ServingOptions = ServingOptions()
    actor: str = ""
    reason: str = ""
    since: UtcTime


class LoadedVersion(Document):
    """What one replica makes of one version; `requests` and `errors` count since the replica loaded it.

    `memory_bytes`: what loading and warming it took of the replica's resident set; None: it is not in memory.
    `quantized`: the kind of the smaller graph that answers in place of the version's own.
    """

    model_id: Name
    version: Version
    state: Literal["loading", "ready", "failed"]
    detail: str = ""
    since: UtcTime
    requests: int = 0
    errors: int = 0
    memory_bytes: int | None = None
    quantized: Literal["int8", "fp16"] | None = None


class ReplicaStatus(Message):
    """What a replica really serves, and the deployment revisions it has converged to."""

    TYPE: ClassVar[str] = "trimtab.replica.status.v1"
    KEY: ClassVar[str] = "replica"

    replica: Name
    incarnation: str
    url: str
    at: UtcTime
    converged: dict[str, int] = {}
    versions: tuple[LoadedVersion, ...] = ()
    stopped: bool = False


# labels -----------------------------------------------------------------------------------------------------------


class Label(Document):
    """The truth about one prediction. Classes are strings, values are numbers."""

    prediction_id: str = Field(min_length=1, max_length=256)
    label: str | float


class LabelsObserved(Message):
    """Ground truth by prediction id, however late."""

    TYPE: ClassVar[str] = "trimtab.labels.observed.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    labels: tuple[Label, ...] = Field(min_length=1, max_length=10_000)


# drift-signals ----------------------------------------------------------------------------------------------------


class Window(Document):
    """The rows that were judged: event times of the first and the last, and how many."""

    start: UtcTime
    end: UtcTime
    rows: int


class FeatureScore(Document):
    """One feature's score in one window, with what no drift would look like.

    `expected` and `expected_sd` are the statistic's mean and standard deviation without drift; `debiased` is
    `score - expected`; `p_value` is calibrated, before the correction for many features; `significant` is after it.
    """

    feature: str
    method: str
    score: Measured
    expected: Measured
    expected_sd: Measured
    debiased: Measured
    p_value: Measured
    significant: bool
    drifted: bool
    definition: str = ""


class SignalState(StrEnum):
    """A signal is raised once, updated while it lasts, and resolved."""

    RAISED = "raised"
    UPDATED = "updated"
    RESOLVED = "resolved"


class DriftFound(Message):
    """Features (or the predictions) no longer look like the baseline."""

    TYPE: ClassVar[str] = "trimtab.drift.found.v1"
    KEY: ClassVar[str] = "model_id"

    signal_id: str
    model_id: Name
    version: Version
    state: SignalState
    window: Window
    baseline_rows: int
    features: tuple[FeatureScore, ...]
    judged_features: int
    explanation: str
    first_window: Window
    redacted_features: tuple[str, ...] = ()


class DriftOver(Message):
    """The windows look like the baseline again."""

    TYPE: ClassVar[str] = "trimtab.drift.over.v1"
    KEY: ClassVar[str] = "model_id"

    signal_id: str
    model_id: Name
    version: Version
    window: Window
    explanation: str


class SchemaSkewFound(Message):
    """Requests do not fit the signature: missing, unexpected or mistyped features. Retraining would not mend that."""

    TYPE: ClassVar[str] = "trimtab.schema-skew.found.v1"
    KEY: ClassVar[str] = "model_id"

    signal_id: str
    model_id: Name
    version: Version
    window: Window
    features: dict[str, int]
    explanation: str


class PerformanceWorse(Message):
    """Measured on labels, the model does worse than its baseline says; `interval` is the 95 % Wilson interval."""

    TYPE: ClassVar[str] = "trimtab.performance.worse.v1"
    KEY: ClassVar[str] = "model_id"

    signal_id: str
    model_id: Name
    version: Version
    state: SignalState
    metric: str
    value: Measured
    interval: tuple[Measured, Measured]
    baseline_value: Measured
    labelled_rows: int
    window: Window
    explanation: str


class PerformanceRestored(Message):
    """Measured on labels, the model is as good as its baseline again."""

    TYPE: ClassVar[str] = "trimtab.performance.restored.v1"
    KEY: ClassVar[str] = "model_id"

    signal_id: str
    model_id: Name
    version: Version
    metric: str
    value: Measured
    interval: tuple[Measured, Measured]
    baseline_value: Measured
    labelled_rows: int
    window: Window
    explanation: str


# loop-events ------------------------------------------------------------------------------------------------------


class LoopStep(StrEnum):
    """The steps of one cycle of the closed loop, in order; the last five end it.

    `superseded`: a person deployed something else meanwhile, and the loop left it alone.
    """

    NOTICED = "noticed"
    GATHERING = "gathering"
    TRAINING = "training"
    PROVING = "proving"
    CANARY = "canary"
    ROLLING_OUT = "rolling_out"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    FAILED = "failed"


class LoopStepped(Message):
    """The loop made a step, and why. `facts` holds the numbers behind the decision."""

    TYPE: ClassVar[str] = "trimtab.loop.stepped.v1"
    KEY: ClassVar[str] = "model_id"

    model_id: Name
    cycle_id: str
    step: LoopStep
    explanation: str
    champion_version: Version | None = None
    challenger_version: Version | None = None
    job_id: Name | None = None
    facts: dict[str, JsonValue] = {}


# access -----------------------------------------------------------------------------------------------------------


class Scope(StrEnum):
    """What an API key may do."""

    PREDICT = "predict"
    READ = "read"
    WRITE = "write"
    DEPLOY = "deploy"
    APPROVE = "approve"
    ADMIN = "admin"


class ApiKeyGranted(Message):
    """A key exists. Only its SHA-256 travels. Empty `model_prefixes`: every model."""

    TYPE: ClassVar[str] = "trimtab.access.granted.v1"
    KEY: ClassVar[str] = "key_id"

    key_id: Name
    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    model_prefixes: tuple[str, ...] = ()


class ApiKeyRevoked(Message):
    """A key is void."""

    TYPE: ClassVar[str] = "trimtab.access.revoked.v1"
    KEY: ClassVar[str] = "key_id"

    key_id: Name


# alerts -----------------------------------------------------------------------------------------------------------


class Alert(Message):
    """Something a person may want to know; `state` raised or resolved."""

    TYPE: ClassVar[str] = "trimtab.alert.v1"
    KEY: ClassVar[str] = "model_id"

    alert_id: str
    model_id: Name
    state: Literal["raised", "resolved"]
    severity: Literal["info", "warning", "critical"]
    title: str
    detail: str
    cause: str = ""
