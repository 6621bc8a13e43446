"""The monitoring document."""

import pytest
from pydantic import ValidationError

from services.monitor.model import DriftDetection, MonitoringDocument

REQUIREMENTS = {
    "metricsPort": 9090,
    "collectInterval": 30,
    "driftDetection": {"enabled": True, "method": "psi", "threshold": 0.1, "windowSize": 1000},
    "performanceTracking": {"latencyThreshold": 1000, "errorRateThreshold": 5, "throughputThreshold": 100},
    "alerting": {"enabled": True, "channels": ["slack", "email"], "slackWebhook": "https://hooks.slack.com/x"},
}


def test_the_requirements_document_is_taken_as_it_is() -> None:
    document = MonitoringDocument.model_validate(REQUIREMENTS)
    assert document.drift_detection == DriftDetection()
    assert document.performance_tracking.throughput_threshold == 100
    assert len(document.notes()) == 3


def test_a_stored_document_reads_back_and_a_shown_one_keeps_the_secret() -> None:
    document = MonitoringDocument.model_validate(REQUIREMENTS)
    assert MonitoringDocument.model_validate(document.stored()) == document
    assert "hooks.slack.com" not in str(document.shown())


@pytest.mark.parametrize(
    ("method", "threshold"), [("PSI", 0.1), ("kl-divergence", 0.05), ("js", 0.01), ("Wasserstein", 0.1)]
)
def test_methods_have_a_threshold_of_their_own_unless_told(method: str, threshold: float) -> None:
    assert DriftDetection.model_validate({"method": method}).threshold == threshold
    assert DriftDetection.model_validate({"method": method, "threshold": 0.3}).threshold == 0.3


@pytest.mark.parametrize("wrong", [{"method": "ks"}, {"windowSize": 3}, {"threshold": -1}, {"treshold": 1}])
def test_what_is_wrong_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong)).replace("Size", "(Size|_size)")):
        MonitoringDocument.model_validate({"driftDetection": wrong})
