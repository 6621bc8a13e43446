"""What the routes that take uploads share: small JSON bodies on paths without a limit, and what a full disk says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import Request

from services.kernel.errors import NoRoom, TooLarge, Unavailable
from services.registry.partials import FULL


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
