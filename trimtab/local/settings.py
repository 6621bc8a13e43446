"""Settings of the local cluster itself, besides those that every process shares."""

import os
import secrets
from pathlib import Path

from pydantic import Field, SecretStr

from services.kernel.settings import SERVICES, Settings


def _user_cache() -> Path:
    """`$XDG_CACHE_HOME/trimtab`, or `~/.cache/trimtab`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"


class LocalSettings(Settings):
    """What `trimtab up` and `trimtab demo` need to know. Environment: `TRIMTAB_` + the field's name."""

    cache_dir: Path = Field(default_factory=_user_cache)
    """Where the embedded broker's jars are kept, for all clusters of this user."""
    maven_mirror: str | None = None
    """Base URL of a Maven repository to fetch the jars from; none: Maven Central."""
    offline: bool = False
    """Never use the network for the jars: the cache must hold them."""
    broker_port: int = Field(default=19092, ge=1, le=65535)
    """Port of the embedded broker."""
    broker_controller_port: int = Field(default=19093, ge=1, le=65535)
    """Port on which the embedded broker speaks with itself."""
    broker_heap_mb: int = Field(default=512, ge=256)
    """Bound of the embedded broker's Java heap, MiB."""
    serving_workers: int = Field(default=1, ge=1, le=256)
    """Serving processes that share the public port."""
    metrics_port: int = Field(default=9090, ge=1, le=65535)
    """Port of the merged metrics of all services."""
    ready_timeout_seconds: float = Field(default=120.0, gt=0)
    """How long a service or the broker may take to become ready."""

    internal_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(32)))
    """Secret that the services show each other; none: a new one each time."""

    @property
    def embedded_broker(self) -> bool:
        """Whether we run our own broker: so, unless `kafka_bootstrap` was set."""
        return "kafka_bootstrap" not in self.model_fields_set

    def environment(self) -> dict[str, str]:
        """The settings that were set here, as environment variables for a child process."""
        variables = {}
        for name in sorted(self.model_fields_set):
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            elif isinstance(value, Path):
                value = value.absolute()
            if value is not None:
                variables[f"TRIMTAB_{name.upper()}"] = str(value)
        return variables

    def named_ports(self, services: tuple[str, ...] = SERVICES) -> dict[str, int]:
        """Every port that will be listened on: name of its setting -> port."""
        ports = {f"TRIMTAB_{name.upper()}_PORT": self.port_of(name) for name in services}
        return {**ports, "TRIMTAB_METRICS_PORT": self.metrics_port}
