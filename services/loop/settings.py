"""The loop's own settings. Environment: `TRIMTAB_LOOP_...`."""

from pydantic import Field

from services.kernel.settings import Settings


class LoopSettings(Settings):
    """How sure the loop must be, and how long it waits for what."""

    loop_min_rows: int = Field(default=500, ge=20)
    """Labelled rows that a retraining needs."""
    loop_max_rows: int = Field(default=100_000, ge=20)
    """Labelled rows that a retraining takes at the most, the newest ones."""
    loop_holdout_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of the labelled rows kept out of training, to prove the challenger on."""
    loop_alpha: float = Field(default=0.05, gt=0, lt=1)
    """Level of the test that the challenger is better."""
    loop_min_gain: float = Field(default=0.0, ge=0, lt=1)
    """Accuracy that the challenger must gain, beside being significantly better."""
    loop_gather_seconds: float = Field(default=7 * 24 * 3600.0, gt=0)
    """How long to wait for labels."""
    loop_train_seconds: float = Field(default=6 * 3600.0, gt=0)
    """How long to wait for a training job; then it is cancelled."""
    loop_register_seconds: float = Field(default=600.0, gt=0)
    """How long to wait for the registry to register a trained challenger."""
    loop_approval_seconds: float = Field(default=604_800.0, gt=0)
    """How long a proved challenger may wait for the gates of the model's policy, approvals among them."""
    loop_canary_percent: float = Field(default=20.0, gt=0, lt=100)
    """Share of the traffic that the canary gets."""
    loop_canary_seconds: float = Field(default=60.0, ge=0)
    """Shortest life of a canary."""
    loop_canary_requests: int = Field(default=100, ge=1)
    """Requests that a canary must have answered."""
    loop_canary_max_seconds: float = Field(default=3600.0, gt=0)
    """How long a canary may wait for its requests before it is rolled back."""
    loop_canary_error_margin: float = Field(default=0.01, ge=0, lt=1)
    """How much higher than the champion's the canary's error rate may be."""
    loop_rollout_seconds: float = Field(default=900.0, gt=0)
    """How long the replicas may take to serve a full rollout before it is rolled back."""
    loop_cooldown_seconds: float = Field(default=3600.0, ge=0)
    """Pause between the end of a cycle and the next one of the same model."""
    loop_tick_seconds: float = Field(default=0.5, gt=0)
    """How often waiting cycles are looked at."""
