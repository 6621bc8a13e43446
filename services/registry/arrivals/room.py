"""Room on the registry's disk for the versions that are being checked, of all requests together."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from services.kernel.errors import Overloaded, TooLarge

SETTING = "TRIMTAB_REGISTRY_STAGING_BYTES"
RETRY_SECONDS = 5.0

TAKEN = Gauge("trimtab_registry_staging_bytes", "Bytes that registrations in progress hold on the registry's disk")


class Room:
    """At most `max_bytes`, which requests in progress share. For one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken = 0

    @contextmanager
    def share(self) -> "Iterator[Share]":
        """One request's part of it, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.taken -= share.taken
            TAKEN.dec(share.taken)


class Share:
    """What one request holds of a `Room`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.taken = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes more. Raises `TooLarge` when the whole room would not do, and `Overloaded`: others hold it
        now."""
        room = self._room
        if self.taken + size > room.max_bytes:
            raise TooLarge(f"the version needs more than the {room.max_bytes} bytes of room for checks: see {SETTING}")
        if room.taken + size > room.max_bytes:
            raise Overloaded(
                f"other registrations hold the {room.max_bytes} bytes of room for checks ({SETTING}): send the version "
                "again in a moment",
                RETRY_SECONDS,
            )
        room.taken += size
        self.taken += size
        TAKEN.inc(size)

    async def counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """`body`, each piece once there is room for it."""
        async for piece in body:
            self.take(len(piece))
            yield piece
