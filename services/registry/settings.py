"""The registry's own settings."""

from pathlib import Path

from pydantic import Field

from services.kernel.settings import Settings


class RegistrySettings(Settings):
    """Environment: `TRIMTAB_REGISTRY_...`."""

    registry_max_upload_bytes: int = Field(default=8 << 30, ge=1024)
    """Largest upload of one version, all files together."""
    registry_uploads_bytes: int = Field(default=64 << 30, ge=1024)
    """Room on the registry's disk for uploads that are not complete; one key may hold half of it."""
    registry_staging_bytes: int = Field(default=64 << 30, ge=1024)
    """Room on the registry's disk for what registrations in progress send, or have fetched from S3 to be checked."""
    registry_upload_hours: float = Field(default=24.0, gt=0)
    """How long an upload that broke off may be gone on with."""
    registry_upload_idle_seconds: float = Field(default=30.0, gt=0)
    """How long a sender may be silent in the middle of a body before the request ends; what came is kept."""
    registry_inspection_memory_bytes: int = Field(default=4 << 30, ge=256 << 20)
    """Memory of the process that opens an uploaded graph, beside three times the graph's own size."""
    registry_inspection_seconds: int = Field(default=60, ge=1, le=3600)
    """Time of that process."""
    registry_inspections_at_once: int = Field(default=2, ge=1, le=64)
    """How many uploaded graphs are opened beside each other; further uploads wait."""
    registry_quantization_memory_bytes: int = Field(default=4 << 30, ge=256 << 20)
    """Memory of the process that makes and measures a smaller graph, beside eight times the graph's own size."""
    registry_quantization_seconds: int = Field(default=240, ge=1, le=3600)
    """Time of that process; a request that comes through the gateway waits no longer than that does."""
    registry_replica_silence_seconds: float = Field(default=30.0, gt=0)
    """How long a replica may say nothing before it counts as gone."""
    registry_collection_seconds: float = Field(default=3600.0, gt=0)
    """Pause between two collections of garbage in the artifact store, and before the first one."""
    registry_grace_seconds: float = Field(default=86_400.0, ge=0)
    """How long what no version names stays in the artifact store before it is condemned, and once more before it is
    removed. It must exceed the longest upload, and two hours: bytes that are used once more are made young hourly."""
    registry_verifications_at_once: int = Field(default=2, ge=1, le=64)
    """How many versions are read and hashed beside each other by `models verify`; further ones wait."""
    registry_unregistered_days: float = Field(default=30.0, ge=0)
    """How long the model of a job that was not registered stays: a trial of an experiment, or a refused one."""

    @property
    def staging_dir(self) -> Path:
        """Folder of uploads and checks in progress; emptied at the start."""
        return self.data_dir / "registry-staging"

    @property
    def uploads_dir(self) -> Path:
        """Folder of uploads that are not complete; kept over a restart."""
        return self.data_dir / "registry-uploads"
