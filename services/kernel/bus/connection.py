"""How every client of this process reaches the brokers."""

import ssl
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.helpers import create_ssl_context

from services.kernel.bus.record import Record
from services.kernel.settings import Settings

UNREADABLE = (KafkaError, UnicodeDecodeError, ValueError, RuntimeError)
"""What aiokafka raises from a poll over a record that it can't decode; `is_passing` tells a broker's trouble apart."""


def is_passing(error: BaseException) -> bool:
    """Whether a failed poll is the broker's passing trouble, not an unreadable record."""
    return bool(getattr(error, "retriable", False)) and not isinstance(error, CorruptRecordException)


def client_options(settings: Settings, client_id: str) -> dict[str, Any]:
    """Keyword arguments that aiokafka's producer, consumer and admin client share."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
        "request_timeout_ms": 30_000,
        "retry_backoff_ms": 100,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl(settings)
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_password:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def _ssl(settings: Settings) -> ssl.SSLContext:
    context: ssl.SSLContext = create_ssl_context(cafile=str(settings.kafka_ca_file) if settings.kafka_ca_file else None)
    return context


def to_record(raw: ConsumerRecord, prefix: str) -> Record:
    """aiokafka's record as ours, the installation's topic prefix removed."""
    return Record(
        topic=raw.topic[len(prefix) :],
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
        headers=tuple(raw.headers),
    )
