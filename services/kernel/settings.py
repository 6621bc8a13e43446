"""The settings that every process shares, each with its unit. Environment: `TRIMTAB_` + the field's name.

The requirements' own names (`MODEL_STORAGE_TYPE`, `S3_BUCKET`, ...) are accepted as aliases. A secret may lie in a file
instead, named as its variable (in any case), in the folder that `TRIMTAB_SECRETS_DIR` names; the environment wins.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from services.kernel.errors import Misconfigured

SERVICES = ("registry", "trainer", "monitor", "tuner", "loop", "serving", "ui")
"""Every process, in the order in which they start."""


def _also(name: str, *others: str) -> AliasChoices:
    return AliasChoices(f"TRIMTAB_{name.upper()}", name, *others)


class Settings(BaseSettings):
    """Shared settings. A service's own settings subclass this and prefix their fields with the service's name."""

    model_config = SettingsConfigDict(
        env_prefix="TRIMTAB_", extra="ignore", populate_by_name=True, protected_namespaces=(), frozen=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files in `TRIMTAB_SECRETS_DIR`."""
        folder = os.environ.get("TRIMTAB_SECRETS_DIR")
        if not folder:
            return init_settings, env_settings
        if not Path(folder).is_dir():
            raise Misconfigured(f"TRIMTAB_SECRETS_DIR is {folder}, which is not a folder")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    # broker
    kafka_bootstrap: str = "127.0.0.1:19092"
    """Kafka bootstrap servers, `host:port[,host:port]`."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the brokers."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """SASL mechanism, used with a SASL protocol."""
    kafka_sasl_username: str | None = None
    """SASL user."""
    kafka_sasl_password: SecretStr | None = None
    """SASL password."""
    kafka_ca_file: Path | None = None
    """Certificate authorities (PEM) for SSL; none: the system's."""
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """Put before every topic and consumer group, so that several installations share a cluster."""
    topic_partitions: int | None = Field(default=None, ge=1, le=1000)
    """Partitions of the keyed topics; none: as the topics table says."""
    topic_replication: int = Field(default=1, ge=1, le=7)
    """Replicas of every topic."""

    # state
    data_dir: Path = Path(".trimtab")
    """Folder of all local state (databases, prediction log segments, caches)."""
    database_url: str | None = None
    """SQLAlchemy URL, `postgresql+psycopg://...`; none: one SQLite file a service in `data_dir`."""
    model_storage_type: Literal["local", "s3"] = Field(
        default="local", validation_alias=_also("model_storage_type", "MODEL_STORAGE_TYPE")
    )
    """Where artifacts lie."""
    storage_dir: Path | None = None
    """Folder of the local artifact store; none: `data_dir/artifacts`."""
    s3_bucket: str | None = Field(default=None, validation_alias=_also("s3_bucket", "S3_BUCKET"))
    """Bucket of the artifact store."""
    s3_endpoint_url: str | None = Field(default=None, validation_alias=_also("s3_endpoint_url", "S3_ENDPOINT_URL"))
    """Endpoint of an S3 that is not Amazon's."""
    s3_access_key_id: str | None = Field(default=None, validation_alias=_also("s3_access_key_id", "AWS_ACCESS_KEY_ID"))
    """Access key; none: boto3's own chain."""
    s3_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias=_also("s3_secret_access_key", "AWS_SECRET_ACCESS_KEY")
    )
    """Secret key; none: boto3's own chain."""
    s3_region: str = Field(default="us-east-1", validation_alias=_also("s3_region", "AWS_REGION"))
    """Region name, part of the request signature."""

    # HTTP
    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback `auth` must be `keys`."""
    serving_port: int = Field(default=3006, ge=0, le=65535)
    """The public port: data plane and gateway."""
    registry_port: int = Field(default=3007, ge=0, le=65535)
    """Port of the registry."""
    trainer_port: int = Field(default=3008, ge=0, le=65535)
    """Port of the trainer."""
    monitor_port: int = Field(default=3009, ge=0, le=65535)
    """Port of the monitor."""
    tuner_port: int = Field(default=3010, ge=0, le=65535)
    """Port of the tuner."""
    loop_port: int = Field(default=3011, ge=0, le=65535)
    """Port of the loop."""
    ui_port: int = Field(default=3012, ge=0, le=65535)
    """Port of the web page's process."""
    serving_url: str | None = None
    """Base URL of the gateway as other processes reach it; none: loopback and `serving_port`."""
    registry_url: str | None = None
    """Base URL of the registry."""
    registry_public_url: str | None = None
    """Where clients outside reach the registry for uploads; none: `registry_url`."""
    trainer_url: str | None = None
    """Base URL of the trainer."""
    monitor_url: str | None = None
    """Base URL of the monitor."""
    tuner_url: str | None = None
    """Base URL of the tuner."""
    loop_url: str | None = None
    """Base URL of the loop."""
    ui_url: str | None = None
    """Base URL of the web page's process."""
    allowed_hosts: str = "127.0.0.1,localhost,[::1]"
    """Host headers that are answered, comma-separated; `*` for any; names listed in the `*_url` settings are added."""
    max_body_bytes: int = Field(default=16 << 20, ge=1024)
    """Largest request body of the control plane, decompressed."""
    http_head_bytes: int = Field(default=64 << 10, ge=1024)
    """Longest request line with its headers; past it the answer is 431 and the connection is closed."""
    http_patience_seconds: float = Field(default=30.0, gt=0)
    """How long a request may take to arrive, beside what `http_least_bytes_per_second` grants; past it 408."""
    http_least_bytes_per_second: float = Field(default=1024.0, gt=0)
    """A request's bytes may arrive this slowly."""
    auth: Literal["off", "keys"] = "off"
    """`keys`: every route but health needs an API key with the right scope."""
    internal_key: SecretStr | None = None
    """Secret that the services show each other; made by `trimtab up`, a secret file elsewhere."""
    drain_seconds: float = Field(default=10.0, ge=0, le=300)
    """How long a stopping process may finish what it has begun."""

    # telemetry
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    otlp_endpoint: str | None = None
    """OpenTelemetry collector (OTLP over HTTP), for example `http://127.0.0.1:4318`; none: spans are not exported."""

    # limits of the bus
    consume_batch: int = Field(default=50, ge=1, le=1000)
    """Messages of one poll that share a transaction."""
    retry_attempts: int = Field(default=6, ge=1, le=100)
    """Tries of a message whose handler fails retriably, before it goes to the DLQ."""
    retry_first_seconds: float = Field(default=0.2, gt=0)
    """First pause between tries; it doubles, with jitter, up to `retry_max_seconds`."""
    retry_max_seconds: float = Field(default=10.0, gt=0)
    """Longest pause between tries."""
    producer_buffer: int = Field(default=10_000, ge=1)
    """Records that may wait for the broker in one process."""
    inbox_days: float = Field(default=30.0, gt=0)
    """How long handled event ids are remembered; must exceed the topics' retention."""
    session_timeout_seconds: float = Field(default=10.0, gt=1)
    """Silence after which the broker gives a consumer's partitions to another."""

    def port_of(self, service: str) -> int:
        """The port that `service` listens on."""
        return int(getattr(self, f"{service}_port"))

    def url_of(self, service: str) -> str:
        """The base URL at which other processes reach `service`, without a trailing slash."""
        url: str | None = getattr(self, f"{service}_url")
        return (url or f"http://127.0.0.1:{self.port_of(service)}").rstrip("/")

    def database_of(self, service: str) -> str:
        """The SQLAlchemy URL of `service`'s database."""
        return self.database_url or f"sqlite:///{(self.data_dir / f'{service}.db').absolute()}"

    def topic(self, name: str) -> str:
        """The name of a topic or a consumer group on the cluster."""
        return self.topic_prefix + name

    @property
    def loopback_only(self) -> bool:
        """Whether nothing beyond this machine can reach the process."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    def check(self) -> None:
        """Raise `Misconfigured` for settings that contradict each other."""
        if not self.loopback_only and self.auth == "off":
            raise Misconfigured(
                f"TRIMTAB_HOST is {self.host}, which other machines can reach, but TRIMTAB_AUTH is off: set "
                "TRIMTAB_AUTH=keys and create a key with `trimtab keys create --admin`, or listen on 127.0.0.1"
            )
        if self.auth == "keys" and self.internal_key is None:
            raise Misconfigured(
                "TRIMTAB_AUTH is keys, but TRIMTAB_INTERNAL_KEY is not set: the services need one common secret "
                "to talk to each other (32 random bytes in hex will do)"
            )
        if self.model_storage_type == "s3" and not self.s3_bucket:
            raise Misconfigured("MODEL_STORAGE_TYPE is s3, but S3_BUCKET is not set: name the bucket of the artifacts")
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise Misconfigured(
                f"TRIMTAB_KAFKA_SECURITY_PROTOCOL is {self.kafka_security_protocol}, but TRIMTAB_KAFKA_SASL_USERNAME "
                "or TRIMTAB_KAFKA_SASL_PASSWORD is not set"
            )
