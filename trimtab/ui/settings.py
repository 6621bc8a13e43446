"""The page's own settings."""

from pydantic import Field

from services.kernel.settings import Settings


class UiSettings(Settings):
    """Environment: `TRIMTAB_UI_...`."""

    ui_sample_seconds: float = Field(default=1.0, ge=0.1, le=60)
    """Pause between two looks at the serving's counters."""
    ui_samples: int = Field(default=120, ge=2, le=3600)
    """Samples that are kept, for rates and the curve."""
    ui_fetch_seconds: float = Field(default=3.0, gt=0)
    """How long a service may take to answer before the page says that it is silent."""
    ui_models: int = Field(default=20, ge=1, le=200)
    """Models that the page shows."""
    ui_event_clients: int = Field(default=100, ge=1)
    """Open event streams; more are refused (503)."""
    ui_event_buffer: int = Field(default=1000, ge=1)
    """Events that wait for one slow reader; when it is full the stream is closed and the reader may go on later."""
    ui_event_history: int = Field(default=2000, ge=0)
    """Latest events that are kept, for readers that come back with `Last-Event-ID`."""
    ui_heartbeat_seconds: float = Field(default=10.0, gt=0)
    """Longest silence of an event stream."""
