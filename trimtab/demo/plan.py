"""How big the story is, and what the services are told so that it fits into a minute."""

from dataclasses import dataclass, field

MODEL_ID = "threat-classifier"


@dataclass(frozen=True)
class Plan:
    """The story's sizes. Rows are sent in the order of the files; no row is sent twice."""

    batch_rows: int = 100
    """Rows of one batch request."""
    single_requests: int = 50
    """Calm rows that are sent one by one."""
    calm_windows: int = 4
    """Windows of calm traffic that the monitor must have judged without a signal."""
    gather_rows: int = 5_000
    """Labelled rows that the loop gathers before it trains."""
    ahead_rows: int = 8_000
    """Shifted rows sent at most before the training begins; the rest is for the canary and for afterwards."""
    trickle_rows: int = 5
    """Rows of one request while the loop works."""
    trickle_pause_seconds: float = 0.05
    """Pause between those."""
    label_delay_seconds: float = 1.0
    """How much later than its prediction the truth arrives."""
    after_rows: int = 6_000
    """Rows that no model has seen, sent when the loop has ended; the rest of the file, but at least so many."""
    least_gain: float = 0.1
    """Accuracy that the healed model must gain on later traffic."""

    def environment(self) -> dict[str, str]:
        """Settings of the services: the same loop as ever, only less patient."""
        return {
            "TRIMTAB_LOOP_MIN_ROWS": str(self.gather_rows),
            "TRIMTAB_LOOP_CANARY_PERCENT": "30",
            "TRIMTAB_LOOP_CANARY_SECONDS": "3",
            "TRIMTAB_LOOP_CANARY_REQUESTS": "20",
            "TRIMTAB_LOOP_CANARY_MAX_SECONDS": "60",
            "TRIMTAB_LOOP_TICK_SECONDS": "0.2",
            "TRIMTAB_SERVING_STATUS_SECONDS": "1",
            "TRIMTAB_MONITOR_LABELLED_ROWS": "500",
        }


@dataclass(frozen=True)
class Patience:
    """The longest that each step may take, in seconds."""

    train: float = 120.0
    deploy: float = 30.0
    calm: float = 60.0
    signal: float = 90.0
    heal: float = 240.0
    after: float = 60.0


@dataclass
class Figures:
    """What was measured; None until it was."""

    accuracy_before: float | None = None
    accuracy_during: float | None = None
    accuracy_after: float | None = None
    seconds_to_signal: float | None = None
    seconds_to_healed: float | None = None
    champion: str | None = None
    challenger: str | None = None
    drifted_features: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
