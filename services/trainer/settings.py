"""Settings of the trainer."""

from pathlib import Path

from pydantic import Field

from services.kernel.settings import Settings


class TrainerSettings(Settings):
    """Environment: `TRIMTAB_TRAINER_...`."""

    trainer_parallel_jobs: int = Field(default=1, ge=1, le=64)
    """Child processes that train at the same time."""
    trainer_data_roots: str = ""
    """Folders that data may be read from, comma-separated; empty: whatever the process may read."""
    trainer_threads: int = Field(default=0, ge=0, le=1024)
    """Threads of one child; 0: one a processor."""
    trainer_niceness: int = Field(default=5, ge=0, le=19)
    """How far a child steps back behind other processes, serving above all (`nice`)."""
    trainer_attempts: int = Field(default=2, ge=1, le=20)
    """Starts of a job whose child or trainer died; a job that fails by itself is not tried again."""
    trainer_store_patience_seconds: float = Field(default=300.0, ge=0)
    """How long a job waits for an artifact store that is away, before the attempt counts as lost."""
    trainer_lease_seconds: float = Field(default=15.0, ge=1)
    """A running job that no trainer has confirmed for so long is taken from it."""
    trainer_job_timeout_seconds: float = Field(default=6 * 3600.0, gt=0)
    """Longest life of one child."""
    trainer_job_memory_bytes: int = Field(default=8 << 30, ge=256 << 20)
    """Resident memory at which a child is stopped."""

    @property
    def data_roots(self) -> tuple[Path, ...]:
        """`trainer_data_roots` as resolved paths."""
        return tuple(Path(root.strip()).resolve() for root in self.trainer_data_roots.split(",") if root.strip())
