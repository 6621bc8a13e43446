"""How a model is watched: the requirements' monitoring document, and the plan that the monitor makes of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, model_validator

from schemas.base import StrictDocument
from services.monitor.drift import Method

_SPELLINGS = {
    "kl_divergence": "kl",
    "kullback_leibler": "kl",
    "js": "jensen_shannon",
    "jensenshannon": "jensen_shannon",
    "wasserstein_distance": "wasserstein",
    "earth_mover": "wasserstein",
}


def _spelled(method: object) -> object:
    if not isinstance(method, str):
        return method
    name = method.strip().lower().replace("-", "_")
    return _SPELLINGS.get(name, name)


DEFAULT_THRESHOLDS: Mapping[str, float] = MappingProxyType(
    {"psi": 0.1, "kl": 0.05, "kl_reverse": 0.05, "jensen_shannon": 0.01, "wasserstein": 0.1}
)
"""What counts as large, where the document does not say. A small shift with a PSI of 0.1 has about half of that as KL
and 0.1 / (8 ln 2) as Jensen-Shannon in bits; Wasserstein is in standard deviations."""


class DriftDetection(StrictDocument):
    """`threshold` applies to the debiased score and defaults by method; `window_size` in rows.

    `significance` is the false-alarm promise of a window.
    """

    enabled: bool = True
    method: Annotated[Method, BeforeValidator(_spelled)] = "psi"
    threshold: float = Field(default=0.1, gt=0, le=100)
    window_size: int = Field(default=1000, ge=50, le=10_000_000)
    significance: float = Field(default=0.05, gt=0, lt=0.5)

    @model_validator(mode="before")
    @classmethod
    def _threshold_of_the_method(cls, document: object) -> object:
        if not isinstance(document, dict) or document.get("threshold") is not None:
            return document
        method = _spelled(document.get("method", "psi"))
        return {**document, "threshold": DEFAULT_THRESHOLDS.get(str(method), DEFAULT_THRESHOLDS["psi"])}


class PerformanceTracking(StrictDocument):
    """Latency in ms, error rate in percent, throughput in requests a second."""

    latency_threshold: float = Field(default=1000.0, gt=0)
    error_rate_threshold: float = Field(default=5.0, ge=0, le=100)
    throughput_threshold: float | None = Field(default=None, ge=0)


class Alerting(StrictDocument):
    """Where alerts go."""

    enabled: bool = False
    channels: tuple[str, ...] = ()
    slack_webhook: SecretStr | None = None
    email: tuple[str, ...] | str | None = None
    webhook_url: HttpUrl | None = None


class MonitoringDocument(StrictDocument):
    """What `PUT /mlops/models/{id}/monitoring` takes; every part has defaults. Intervals in seconds."""

    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    collect_interval: float | None = Field(default=None, gt=0)
    drift_detection: DriftDetection = DriftDetection()
    performance_tracking: PerformanceTracking = PerformanceTracking()
    alerting: Alerting = Alerting()

    def stored(self) -> dict[str, Any]:
        """The document as JSON, secrets in the clear: for the database only."""
        document = self.model_dump(mode="json")
        if self.alerting.slack_webhook is not None:
            document["alerting"]["slack_webhook"] = self.alerting.slack_webhook.get_secret_value()
        return document

    def shown(self) -> dict[str, Any]:
        """The document as JSON, secrets masked: for people."""
        return self.model_dump(mode="json")

    def notes(self) -> list[str]:
        """What of this document has no effect in this release, said plainly."""
        said = []
        if self.alerting.enabled or self.alerting.channels:
            said.append(
                "alerting: the channels are stored, but nothing is sent to them in this release; signals are on the "
                "topic drift-signals"
            )
        if "performance_tracking" in self.model_fields_set:
            said.append("performance_tracking: the thresholds are stored, but not judged in this release")
        if self.metrics_port is not None or self.collect_interval is not None:
            said.append(
                "metrics_port and collect_interval belong to the process: TRIMTAB_METRICS_PORT for `trimtab up` and "
                "TRIMTAB_MONITOR_COLLECT_SECONDS set them; here they are only stored"
            )
        return said
