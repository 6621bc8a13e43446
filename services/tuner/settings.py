"""Settings of the tuner."""

from pathlib import Path

from services.kernel.settings import Settings


class TunerSettings(Settings):
    """Environment: `TRIMTAB_TUNER_...`."""

    tuner_default_job: Path | None = None
    """A training job (JSON) that is the base of an experiment that names none and whose model has no job yet."""
