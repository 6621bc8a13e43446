"""Does a broker answer, right now? For health pages; nothing waits for it."""

import asyncio
import time

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from services.kernel.bus.connection import client_options
from services.kernel.settings import Settings

FRESH_SECONDS = 2.0
_ANSWER_SECONDS = 1.0
_ALL_ANSWER_SECONDS = 2.0


async def broker_answers(settings: Settings) -> bool:
    """Whether one of the bootstrap servers lets us in and tells its cluster, within two seconds."""
    options = client_options(settings, "trimtab-probe") | {"request_timeout_ms": int(_ANSWER_SECONDS * 1000)}
    client = AIOKafkaClient(**options)
    try:
        async with asyncio.timeout(_ALL_ANSWER_SECONDS):
            await client.bootstrap()
    except (KafkaError, OSError):  # TimeoutError is an OSError
        return False
    finally:
        await client.close()
    return True


class BrokerProbe:
    """Remembers the answer for `FRESH_SECONDS`, so that nobody who asks often costs the broker anything."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._answers = False

    async def answers(self) -> bool:
        """Whether the broker answers, as of at most `FRESH_SECONDS` ago."""
        async with self._asking:
            if self._asked_at is None or time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._answers = await broker_answers(self._settings)
                self._asked_at = time.monotonic()
            return self._answers
