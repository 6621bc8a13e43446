"""How one model is served, beyond the question which version gets what share of its traffic.

The options belong to the model: they stay as they are through deployments, canaries and rollbacks until somebody sets
others. What is None is the replica's own setting.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Document

Misfit = Literal["reject", "flag"]
"""What becomes of a request that breaks one clause of the input contract: refused, or answered, counted and marked."""


class InputContract(Document):
    """What a request has to keep of its model's signature.

    `unexpected`: a feature that the model does not have. `missing`: one that is absent without being nullable. `type`:
    a value of another kind; flagged, it is converted where that loses nothing and refused where it can't be. `range`:
    a number outside `minimum` .. `maximum`. `category`: a text that is none of `categories`.
    """

    unexpected: Misfit | None = None
    missing: Misfit | None = None
    type: Misfit | None = None
    range: Misfit | None = None
    category: Misfit | None = None


class LogPolicy(Document):
    """What of a model's predictions is logged.

    `sample`: the share of answered requests that are; failures are always logged. `redact`: features whose values
    never leave the process as they are: `hash` logs a keyed digest, `drop` nothing.
    """

    sample: float = Field(default=1.0, ge=0, le=1)
    redact: dict[str, Literal["hash", "drop"]] = Field(default={}, max_length=10_000)

    def hides(self, other: "LogPolicy") -> bool:
        """Whether a log under this policy shows nothing that `other` hides.

        >>> LogPolicy(redact={"a": "drop"}).hides(LogPolicy(redact={"a": "hash"})), LogPolicy().hides(LogPolicy())
        (True, True)
        >>> LogPolicy(redact={"a": "hash"}).hides(LogPolicy(redact={"a": "drop"}))
        False
        """
        return all(self.redact.get(name) in (way, "drop") for name, way in other.redact.items())


class Circuit(Document):
    """When a failing version is no longer asked.

    After `failures` failed requests in a row it is left alone for `open_seconds`; then one request tries it.
    """

    failures: int = Field(default=5, ge=1, le=1_000_000)
    open_seconds: float = Field(default=10.0, gt=0, le=86_400)


class Constant(Document):
    """An answer that needs no model: a class, or a number in regression."""

    prediction: str | float
    probabilities: dict[str, float] | None = None

    @model_validator(mode="after")
    def _only_a_class_has_probabilities(self) -> Self:
        if self.probabilities is not None and self.prediction not in self.probabilities:
            raise ValueError("the probabilities of a constant must name its prediction")
        return self


class ServingOptions(Document):
    """`options` of a deployment. Durations carry their unit."""

    timeout_ms: float | None = Field(default=None, gt=0, le=3_600_000)
    """How long a version may take before the request falls back, or fails with 503."""
    batch_rows: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most rows of one run."""
    queue_rows: int | None = Field(default=None, ge=1, le=10_000_000)
    """Rows that may wait."""
    request_rows: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most rows of one request."""
    intra_op_threads: int | None = Field(default=None, ge=1, le=256)
    """Threads of one run."""
    memory_arena: bool | None = None
    """Whether the runtime keeps freed memory for the next run."""
    pinned: bool = False
    """Not unloaded to make room, unless the byte budget leaves no other choice."""
    cache_ttl_seconds: float | None = Field(default=None, ge=0, le=31_536_000)
    """How long a prediction may be repeated from the cache; 0: never."""
    inputs: InputContract = InputContract()
    log: LogPolicy = LogPolicy()
    circuit: Circuit | None = None


class QuantizationReport(Document):
    """What a quantized graph lost and won, measured on the version's baseline sample.

    `metric` is what `loss` is measured in: `disagreement` (share of rows that get another class), `accuracy` (drop,
    where the sample has labels) or `relative-error` (mean absolute difference over mean absolute value, regression).
    """

    kind: Literal["int8", "fp16"]
    metric: Literal["disagreement", "accuracy", "relative-error"]
    rows: int
    loss: float
    bound: float
    max_difference: float
    """Largest difference of any output element."""
    bytes_before: int
    bytes_after: int
    seconds_before: float
    """One run over the measured rows, the best of several."""
    seconds_after: float


class Quantized(Document):
    """The graph that answers in place of the version's own; it lies in the artifact store's blobs under `sha256`."""

    kind: Literal["int8", "fp16"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=1)
    report: QuantizationReport
