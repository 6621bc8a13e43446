"""The Kafka that belongs to an installation, running or not."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from services.kernel.settings import Settings
from trimtab.local import kafka_probe
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import LOOPBACK
from trimtab.local.settings import LocalSettings

T = TypeVar("T")


@contextmanager
def kafka_of(settings: LocalSettings) -> Iterator[Settings | None]:
    """The settings that reach the installation's Kafka; None when it is the embedded one and has never run.

    The embedded broker is started, for as long as it is needed, when the installation does not run. Use it in the main
    thread. Raises `LocalError` when the broker won't start.
    """
    if not settings.embedded_broker:
        yield settings
        return
    bootstrap = f"{LOOPBACK}:{settings.broker_port}"
    reached = settings.model_copy(update={"kafka_bootstrap": bootstrap})
    data = settings.data_dir.absolute() / "kafka"
    if kafka_probe.any_answers(bootstrap):
        yield reached
        return
    if not data.exists():
        yield None
        return
    broker = LocalBroker(
        data,
        jars=ensure_jars(jar_cache(settings.cache_dir), offline=settings.offline, mirror_url=settings.maven_mirror),
        port=settings.broker_port,
        controller_port=settings.broker_controller_port,
        heap_mb=settings.broker_heap_mb,
    )
    broker.start(settings.ready_timeout_seconds)
    try:
        yield reached
    finally:
        broker.stop()


def ask(question: Coroutine[Any, Any, T]) -> T:
    """The answer to something that is asked of Kafka, for callers without an event loop."""
    return asyncio.run(question)
