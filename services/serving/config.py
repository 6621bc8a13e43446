"""The server configuration document of the requirements: what it says, what of it is built, where it is kept."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError

from schemas.base import Name, StrictDocument
from services.kernel.errors import Misconfigured, Unavailable
from services.serving.runtime.providers import gpu_note
from services.serving.settings import ServingSettings


class ServerConfig(StrictDocument):
    """`PUT /mlops/serving`. Durations are seconds."""

    max_models_in_memory: int = Field(default=50, ge=1, le=100_000)
    max_model_bytes: int | None = Field(default=None, ge=1 << 20, le=1 << 60)
    """Measured memory of all models; None: `TRIMTAB_SERVING_MAX_MODEL_BYTES`."""
    preload_models: tuple[Name, ...] = ()
    """Models that are never unloaded to make room. Every deployed model is loaded at the start anyway."""
    warmup_on_load: bool = True
    enable_gpu: bool = Field(default=False, validation_alias=AliasChoices("enable_gpu", "enableGPU", "enableGpu"))
    cache_ttl: float = Field(
        default=0, ge=0, le=31_536_000, validation_alias=AliasChoices("cache_ttl", "cacheTTL", "cacheTtl")
    )
    """How long a prediction may be repeated, for models whose deployment does not say; 0: it is not."""
    health_check_interval: float = Field(default=30, ge=0, le=86_400)
    """Pause between two self-checks of what is in memory; 0: none."""

    def not_built(self) -> list[str]:
        """What this document asks for and this release does not do."""
        return []

    def notes(self) -> list[str]:
        """What this document asks for and this machine does not have."""
        note = gpu_note(self.enable_gpu)
        return [] if note is None else [note]


def read_config(settings: ServingSettings) -> ServerConfig:
    """The document that was put last, or the settings' own. Raises `Misconfigured` when the file is damaged."""
    try:
        return ServerConfig.model_validate_json(settings.config_file.read_bytes())
    except FileNotFoundError:
        return ServerConfig(max_models_in_memory=settings.serving_max_models, warmup_on_load=settings.serving_warmup)
    except ValidationError as error:
        raise Misconfigured(f"{settings.config_file} is damaged: remove it, or mend it: {error}") from error


def write_config(path: Path, config: ServerConfig) -> None:
    """Keep `config` for the next start; whole or not at all. Raises `Unavailable` when the disk does not take it."""
    unfinished = path.with_suffix(f".{uuid.uuid4().hex}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(config.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise Unavailable(f"{path} can't be written, so nothing was changed: {error.strerror or error}") from error
