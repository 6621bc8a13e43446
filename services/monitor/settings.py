"""The monitor's settings."""

from pydantic import Field

from services.kernel.settings import Settings


class MonitorSettings(Settings):
    """Shared settings and the monitor's own."""

    monitor_window_rows: int = Field(default=1000, ge=50)
    """Rows of a drift window, unless the model's monitoring document says otherwise."""
    monitor_window_max_seconds: float = Field(default=600.0, ge=0)
    """A window that has `monitor_window_min_rows` closes this long after its first row, traffic or not; 0: never."""
    monitor_window_min_rows: int = Field(default=200, ge=1)
    """Fewest rows of a window that closes on time."""
    monitor_history_windows: int = Field(default=1000, ge=1)
    """Closed windows whose scores are kept for each version."""
    monitor_labelled_rows: int = Field(default=250, ge=20)
    """Labelled rows of a performance window."""
    monitor_unknown_wait_seconds: float = Field(default=30.0, ge=0)
    """How long records of a model or version that is not known yet are waited for before they go to the DLQ."""
    monitor_spool_bytes: int = Field(default=2 << 30, ge=1 << 20)
    """Largest size of the spool of raw predictions; the oldest are dropped first."""
    monitor_spool_days: float = Field(default=7.0, gt=0)
    """How long raw predictions and labels are kept."""
    monitor_segment_bytes: int = Field(default=64 << 20, ge=1 << 16)
    """Size at which a spool file is followed by the next."""
    monitor_cached_versions: int = Field(default=100, ge=1)
    """Versions whose baselines are held in memory."""
    monitor_metric_series: int = Field(default=20_000, ge=100)
    """Most `ml_feature_drift_score` series; further features are counted in `trimtab_monitor_series_refused_total`."""
    monitor_collect_seconds: float = Field(default=5.0, gt=0)
    """Pause between two samples of the system's CPU and memory (the requirements' `collectInterval`)."""
    monitor_export_rows: int = Field(default=1_000_000, ge=1)
    """Most rows of one exported dataset."""
