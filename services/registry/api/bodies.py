"""What the routes that take uploads share: small JSON bodies, a folder of the request's own, what a full disk says."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import Request

from services.kernel.errors import NoRoom, TooLarge, Unavailable
from services.registry.api.parts import Parts
from services.registry.arrivals.partials import FULL
from services.registry.arrivals.room import Share


async def read_json(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as it is longer than `max_bytes`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the JSON document is over {max_bytes} bytes")
    return bytes(body)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say what to do about errors of the registry's own disk. Raises `NoRoom` when it is full, else `Unavailable`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if error.errno in FULL:
            raise NoRoom(f"the registry's disk is full ({reason}): free space below {folder}, then go on") from error
        raise Unavailable(f"the upload cannot be written: {reason}; free disk space") from error


@asynccontextmanager
async def staging(parts: Parts) -> AsyncIterator[tuple[Path, Share]]:
    """A folder of this request's own, and the room that it takes of the disk; both are gone at its end."""
    await asyncio.to_thread(parts.settings.staging_dir.mkdir, parents=True, exist_ok=True)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=parts.settings.staging_dir))
    try:
        with parts.room.share() as share:
            yield folder, share
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
