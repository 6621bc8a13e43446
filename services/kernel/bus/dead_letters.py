"""Dead letters: a record that can't be handled, kept as raw bytes with where it came from and why."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.envelope import Headers
from schemas.topics import DLQ_SUFFIX, TOPICS
from services.kernel.bus.inbox import Failure
from services.kernel.bus.producer import Producer
from services.kernel.bus.record import REPLAY_GROUP, Record
from services.kernel.bus.tail import read_to_end
from services.kernel.errors import NotFound, TooLarge, TrimtabError
from services.kernel.settings import Settings

PREFIX = "trimtab_dlq_"
KEPT_BYTES = 64 << 10
"""What is kept of a record that is too large for the dead-letter topic."""
DROPPED = PREFIX + "dropped"
"""Header of a marker in a dead-letter topic: the offset of the letter that was dropped."""


@dataclass(frozen=True)
class DeadLetter:
    """One dead record; `letter` is its address, `TOPIC/OFFSET` in the dead-letter topic."""

    letter: str
    topic: str
    partition: int
    offset: int
    group: str
    error: str
    detail: str
    at: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers

    def preview(self) -> str:
        """The body as text, cut at 2,000 characters."""
        text = (self.value or b"").decode(errors="backslashreplace")
        return text if len(text) <= 2000 else text[:2000] + " ..."


async def bury(producer: Producer, group: str, failure: Failure) -> None:
    """Send the failed record to its dead-letter topic and wait for the acknowledgement. Raises `SendFailed`.

    A record too large for the topic (a compressed one may be, unpacked) is buried with its beginning, size and SHA-256.
    """
    record = failure.record
    error = failure.error
    about = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "group": group,
        "error": error.code if isinstance(error, TrimtabError) else type(error).__name__,
        "detail": str(error)[:2000],
        "at": datetime.now(UTC).isoformat(),
    }
    try:
        await _send(producer, record, record.value, about)
    except TooLarge:
        value = record.value or b""
        about |= {"whole_bytes": len(value), "whole_sha256": hashlib.sha256(value).hexdigest()}
        await _send(producer, record, value[:KEPT_BYTES], about)


def _send(producer: Producer, record: Record, value: bytes | None, about: dict[str, Any]) -> "asyncio.Future[int]":
    headers: Headers = [*record.headers, (PREFIX + "about", json.dumps(about).encode())]
    return producer.send(record.topic + DLQ_SUFFIX, value, key=record.key, headers=headers)


def _read(record: Record, topic: str) -> DeadLetter | None:
    about = record.header(PREFIX + "about")
    if about is None:
        return None
    facts = json.loads(about)
    return DeadLetter(
        letter=f"{topic}/{record.offset}",
        topic=facts["topic"],
        partition=facts["partition"],
        offset=facts["offset"],
        group=facts["group"],
        error=facts["error"],
        detail=facts["detail"],
        at=datetime.fromisoformat(facts["at"]),
        key=record.key,
        value=record.value,
        headers=[(name, value) for name, value in record.headers if not name.startswith(PREFIX)],
    )


async def letters(settings: Settings, topic: str | None = None) -> AsyncIterator[DeadLetter]:
    """Every dead letter, or those of one origin topic, oldest first within a topic."""
    for entry in TOPICS:
        if topic is not None and entry.name != topic:
            continue
        dropped = {
            int(marker)
            async for record in read_to_end(settings, entry.name + DLQ_SUFFIX)
            if (marker := record.header(DROPPED)) is not None
        }
        async for record in read_to_end(settings, entry.name + DLQ_SUFFIX):
            letter = _read(record, entry.name)
            if letter is not None and record.offset not in dropped:
                yield letter


async def find(settings: Settings, address: str) -> DeadLetter:
    """The dead letter at `TOPIC/OFFSET`. Raises `NotFound`."""
    async for letter in letters(settings, address.rpartition("/")[0]):
        if letter.letter == address:
            return letter
    raise NotFound(f"there is no dead letter {address!r}: `trimtab dlq list` shows their addresses")


async def replay(producer: Producer, letter: DeadLetter) -> int:
    """Send the record to its origin topic again, for the group that failed only. Returns the new offset."""
    headers: Headers = [*letter.headers, (REPLAY_GROUP, letter.group.encode())]
    return await producer.send(letter.topic, letter.value, key=letter.key, headers=headers)


async def drop(producer: Producer, letter: DeadLetter) -> None:
    """Take the letter off the list for good; its bytes stay in the topic until its retention is over."""
    offset = letter.letter.rpartition("/")[2]
    await producer.send(letter.topic + DLQ_SUFFIX, None, key=letter.key or b"-", headers=[(DROPPED, offset.encode())])
