"""Serving's own settings."""

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from services.kernel.settings import Settings
from services.serving.clauses import Clauses


class ServingSettings(Settings):
    """Environment: `TRIMTAB_SERVING_...`."""

    serving_replica: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """This replica's name on `deployment-status` and in the prediction log; none: host name and port."""
    serving_workers: int = Field(default=1, ge=1, le=256)
    """Processes that share the public port; each is a replica with a name, models and a prediction log of its own."""
    serving_worker: int | None = Field(default=None, ge=0, le=255)
    """Which of the workers this process is; set by the one that starts them."""
    serving_worker_ports: str = ""
    """Loopback ports at which the workers answer alone, comma-separated, in order; set likewise."""
    serving_worker_restarts: int = Field(default=0, ge=0)
    """How often this worker was started again; set likewise."""
    serving_server_name: str = "trimtab"
    """The server's name in the Open Inference Protocol."""
    serving_open_health: bool = True
    """Whether `/v2/health/*` answers without a key."""

    # requests
    serving_input_policy: Literal["reject", "flag"] = "reject"
    """Features that are unexpected, missing or of another type, unless the model's contract says it: an error, or left
    out, filled in, converted (where that loses nothing), counted and marked in the log."""
    serving_range_policy: Literal["reject", "flag"] = "flag"
    """Numbers outside of their feature's range, unless the model's contract says it: an error, or marked in the log."""
    serving_category_policy: Literal["reject", "flag"] = "flag"
    """Texts that are none of their feature's categories, unless the model's contract says it: likewise."""
    serving_batch_rows: int = Field(default=1024, ge=1)
    """Most rows of one run of the runtime."""
    serving_queue_rows: int = Field(default=8192, ge=1)
    """Rows that may wait for one version before requests are refused with 503."""
    serving_request_rows: int = Field(default=10_000, ge=1)
    """Most rows of one request."""
    serving_string_bytes: int = Field(default=64 << 10, ge=1)
    """Longest text of a string feature, in UTF-8."""
    serving_compress_bytes: int = Field(default=1024, ge=0)
    """Smallest prediction answer that is compressed for a client that asks for `gzip` or `deflate` alone."""
    serving_compress_listed: bool = False
    """Whether a list of codings, which HTTP libraries send unasked, counts as asking."""
    serving_shadow_rows: int = Field(default=1024, ge=1)
    """Rows that one version may have outstanding as a shadow; past it the shadow does not see requests."""
    serving_notice_seconds: float = Field(default=1.0, ge=0, le=300)
    """How long a stopping process still takes connections, though `/readyz` says 503: longer than whoever sends the
    traffic needs to notice (of Kubernetes, the readiness probe's period times its failure threshold)."""
    serving_linger_seconds: float = Field(default=1.0, ge=0, le=60)
    """How long a stopping process still answers what open connections send, asking them to close."""

    # prediction cache; what is kept and for how long: `cacheTTL` and a deployment's `cache_ttl_seconds`
    serving_cache_bytes: int = Field(default=64 << 20, ge=0)
    """Memory of the cache in this process; 0: nothing is cached there."""
    serving_cache_url: SecretStr | None = None
    """`redis://...`, `rediss://...` or `unix://...`: predictions are cached there, for all replicas."""
    serving_cache_timeout_ms: float = Field(default=10.0, gt=0, le=1000)
    """How long a request waits for that cache; then it is answered without."""
    serving_cache_rest_seconds: float = Field(default=5.0, gt=0, le=3600)
    """How long that cache is left alone after it failed or was slow."""
    serving_cache_value_bytes: int = Field(default=64 << 10, ge=1024, le=64 << 20)
    """Largest answer that is kept there."""

    # runtimes
    serving_intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads of one call of ONNX Runtime."""
    serving_memory_arena: bool = False
    """Let ONNX Runtime keep freed memory: faster for big activations, returned only when the model is unloaded."""
    serving_runtime_threads: int = Field(default=2, ge=1, le=256)
    """Threads for calls that would hold the event loop for more than 5 ms."""
    serving_tensorflow_memory_bytes: int = Field(default=4 << 30, ge=1 << 30)
    """Data of one SavedModel's process; past it the process ends and is started again. TensorFlow's own are 450 MB."""
    serving_tensorflow_start_seconds: float = Field(default=120.0, gt=0)
    """How long a SavedModel's process may take until it answers."""
    serving_tensorflow_run_seconds: float = Field(default=60.0, gt=0)
    """How long it may take for one batch before it is ended and started again."""
    serving_warmup: bool = True
    """Run a sample row through a version before it answers."""

    # memory
    serving_max_models: int = Field(default=50, ge=1)
    """Models in memory; past it the least recently used is unloaded until it is asked for (`maxModelsInMemory`)."""
    serving_max_model_bytes: int = Field(default=8 << 30, ge=1 << 20)
    """Measured memory of all models; past it the least recently used is unloaded."""
    serving_load_wait_seconds: float = Field(default=20.0, gt=0)
    """How long a request waits for a model that has to be loaded first."""

    serving_check_failures: int = Field(default=3, ge=1, le=1000)
    """Self-checks in a row (`healthCheckInterval`) that a version may fail before it is reported and loaded anew."""
    serving_check_seconds: float = Field(default=10.0, gt=0, le=3600)
    """How long one self-check may take."""

    # prediction log
    serving_log_max_bytes: int = Field(default=1 << 30, ge=1 << 16)
    """Disk that predictions may take while Kafka has not acknowledged them."""
    serving_log_policy: Literal["reject", "shed"] = "reject"
    """Past that: refuse predictions with 503, or answer them and announce the missing rows."""
    serving_log_segment_bytes: int = Field(default=8 << 20, ge=1 << 12)
    """Size at which a new segment begins."""
    serving_log_fsync: bool = False
    """Wait for the disk before an answer leaves: survives a power failure, costs about half a millisecond."""
    serving_redaction_key: SecretStr | None = None
    """Secret key of the digests that stand for redacted values in the prediction log, the same on every replica. None:
    each process draws its own, so that its tokens can be compared with no other's and not beyond its life. What a cache
    in Redis is asked by is keyed with it as well, where it is set."""
    serving_ship_seconds: float = Field(default=5.0, ge=0, le=300)
    """How long a stopping process tries to ship the rest of its log; what is left is adopted at the next start."""

    # explanations
    serving_explain_rows: int = Field(default=32, ge=1, le=10_000)
    """Most rows of one request for an explanation."""
    serving_explain_samples: int = Field(default=20_000, ge=16, le=10_000_000)
    """Most samples (coalitions of features, or perturbed rows) that a request may ask for."""
    serving_explain_evaluations: int = Field(default=5_000_000, ge=1000)
    """Most rows that the model may be asked for one request's explanation: rows x samples x reference rows."""
    serving_explain_background_rows: int = Field(default=100, ge=1, le=10_000)
    """Rows of the baseline sample that Shapley values compare with."""
    serving_explain_features: int = Field(default=256, ge=1, le=10_000)
    """Most values of one row that are explained; each element of a tensor is one."""
    serving_explain_queue: int = Field(default=16, ge=1, le=10_000)
    """Requests that wait for an explanation or are worked on before others are refused with 503."""
    serving_explain_timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long a request waits for its turn, and how long the explanation may then take."""
    serving_explain_idle_seconds: float = Field(default=300.0, gt=0)
    """How long the explaining process lives without work."""
    serving_explain_memory_bytes: int = Field(default=2 << 30, ge=512 << 20)
    """Memory that the explaining process may allocate."""
    serving_explain_niceness: int = Field(default=10, ge=0, le=19)
    """How far the explaining process steps back behind others (`nice`)."""
    serving_explain_versions: int = Field(default=4, ge=1, le=1000)
    """Versions that the explaining process holds open."""
    serving_explain_wait_seconds: float = Field(default=20.0, ge=0, le=600)
    """How long a request waits for a version's importance before it is told how far that has come."""
    serving_explain_importance_rows: int = Field(default=200, ge=2, le=10_000)
    """Rows of the baseline sample over which a version's importance is the mean."""
    serving_explain_importance_background_rows: int = Field(default=50, ge=1, le=10_000)
    """Rows of the baseline sample that each of them is compared with."""
    serving_explain_trend_versions: int = Field(default=20, ge=1, le=1000)
    """Versions in one trend, the newest of the model."""

    # predictions of edge devices
    serving_edge_rows: int = Field(default=1000, ge=1, le=10_000)
    """Most rows of one upload (`POST /mlops/predictions`)."""
    serving_edge_waiting_bytes: int = Field(default=64 << 20, ge=1 << 16)
    """Uploads that may wait for Kafka, in bytes; past it more are refused with 503."""
    serving_edge_wait_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long an upload waits for Kafka's acknowledgement before it is answered with 503."""
    serving_edge_clock_skew_seconds: float = Field(default=300.0, ge=0)
    """How far a device's clock may be off before its rows are counted as skewed."""

    serving_status_seconds: float = Field(default=3.0, gt=0)
    """Pause between two reports on `deployment-status` when nothing changes."""
    serving_gateway_timeout_seconds: float = Field(default=300.0, gt=0)
    """How long the gateway waits for a service's answer to begin."""

    @property
    def replica(self) -> str:
        """This replica's name."""
        return self.replica_of(self.serving_worker)

    def replica_of(self, worker: int | None) -> str:
        """The name of one worker's replica; None: of a process that has the port to itself."""
        end = "" if worker is None else f"-w{worker}"
        return (self.serving_replica or f"{socket.gethostname()}-{self.serving_port}")[: 128 - len(end)] + end

    @property
    def worker_ports(self) -> list[int]:
        """The workers' own ports, in order; none where the port is not shared."""
        return [int(port) for port in self.serving_worker_ports.split(",") if port]

    @property
    def log_bytes(self) -> int:
        """This process's share of `serving_log_max_bytes`: the workers of one host write to one folder."""
        return max(self.serving_log_max_bytes // max(len(self.worker_ports), 1), 1 << 16)

    def adopts(self, replica: str) -> bool:
        """Whether this process ships what a dead one of that name left behind. A worker does so for its predecessor,
        the first one also for whoever is none of its siblings."""
        if self.serving_worker is None:
            return True
        if replica == self.replica:
            return True
        siblings = {self.replica_of(worker) for worker in range(len(self.worker_ports))}
        return self.serving_worker == 0 and replica not in siblings

    @property
    def clauses(self) -> Clauses:
        """The clauses of the input contract for models that say nothing of their own."""
        kinds = self.serving_input_policy
        return Clauses(kinds, kinds, kinds, self.serving_range_policy, self.serving_category_policy)

    @property
    def log_dir(self) -> Path:
        """Folder of the prediction log's segments; several replicas may share it."""
        return self.data_dir / "serving-log"

    @property
    def cache_dir(self) -> Path:
        """Folder of verified model files."""
        return self.data_dir / "serving-models"

    @property
    def config_file(self) -> Path:
        """Where `PUT /mlops/serving` is kept."""
        return self.data_dir / "serving.json"
