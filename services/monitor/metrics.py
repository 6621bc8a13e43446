"""The monitor's Prometheus metrics; the `ml_` names are the requirements' own."""

from prometheus_client import Counter, Gauge

SCORE = Gauge(
    "ml_feature_drift_score",
    "Drift score of the last closed window (wasserstein: in standard deviations of the baseline)",
    ["model", "version", "feature", "method"],
)
CPU = Gauge("ml_system_cpu_usage_percent", "CPU usage of the machine, all cores together 100")
MEMORY = Gauge("trimtab_system_memory_used_bytes", "Memory in use on the machine")
PROCESS_CPU = Gauge("trimtab_process_cpu_usage_percent", "CPU usage of this process, one core 100")

COUNTED = Counter("trimtab_monitor_rows_total", "Predictions counted", ["model", "version"])
REPEATED = Counter("trimtab_monitor_repeated_rows_total", "Rows that came again and were not counted", ["model"])
MISSING = Counter("trimtab_monitor_missing_rows_total", "Rows whose sequence numbers never came", ["model"])
FOUND = Counter(
    "trimtab_monitor_found_rows_total", "Missing rows that came after all: a replayed dead letter", ["model"]
)
LOST = Counter(
    "trimtab_monitor_lost_rows_total", "Missing rows that would not be counted any more if they came", ["model"]
)
SHED = Counter("trimtab_monitor_shed_rows_total", "Rows that serving shed and announced", ["model"])
SAMPLED_OUT = Counter(
    "trimtab_monitor_sampled_out_rows_total", "Predictions that a log's sample left out", ["model", "version"]
)
FLAGGED = Counter(
    "trimtab_monitor_flagged_rows_total",
    "Rows whose input broke a clause of the contract and was answered",
    ["model", "clause"],
)
LABELS_LEFT_OUT = Counter(
    "trimtab_monitor_left_out_labels_total", "Labels of predictions that a log's sample left out", ["model"]
)
SKEWED = Counter("trimtab_monitor_skewed_values_total", "Values that did not fit the signature", ["model"])
WINDOWS = Counter("trimtab_monitor_windows_total", "Windows closed", ["model", "version"])
LABELS = Counter("trimtab_monitor_labels_joined_total", "Labels whose prediction was found", ["model", "version"])
FOREIGN = Counter(
    "trimtab_monitor_foreign_labels_total", "Labels that are none of the model's classes", ["model", "version"]
)
ACCURACY = Gauge("trimtab_model_accuracy", "Accuracy of the last window of labelled rows", ["model", "version"])
REFUSED = Counter("trimtab_monitor_series_refused_total", "Drift score series past monitor_metric_series")
WAITING = Gauge(
    "trimtab_monitor_waiting_for_version", "1 while a partition waits for an unknown version", ["partition"]
)
SPOOL_BYTES = Gauge("trimtab_monitor_spool_bytes", "Size of the spool of raw predictions")
SPOOL_LOST = Counter(
    "trimtab_monitor_spool_lost_blocks_total", "Counted blocks whose raw rows could not be kept or read"
)
RESTARTED = Counter(
    "trimtab_monitor_partition_restarts_total",
    "Partitions read from their beginning because the topic ends before the saved offset",
    ["partition"],
)
BURIED = Counter(
    "trimtab_monitor_dead_letters_total", "Records of predictions sent to the dead-letter topic", ["reason"]
)


class ScoreSeries:
    """Sets `ml_feature_drift_score`, at most `most` series."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[tuple[str, str, str, str]] = set()

    def set(self, model: str, version: str, feature: str, method: str, score: float) -> None:
        """Set one score, if it has its series or one is left."""
        key = model, version, feature, method
        if key not in self._known:
            if len(self._known) >= self._most:
                REFUSED.inc()
                return
            self._known.add(key)
        SCORE.labels(*key).set(score)
