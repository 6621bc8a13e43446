"""Pass a request's body on to blocking code: in order, beside the event loop, two blocks at most in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import ClientDisconnect

from services.kernel.errors import TooLarge, Unavailable

BLOCK_BYTES = 1 << 20
"""How much is gathered before a thread takes it: hashing and writing this much outlasts the hand-over tenfold."""


class SenderGone(Unavailable):
    """The sender fell silent, or the connection broke."""

    code = "sender-gone"


async def pour(
    body: AsyncIterator[bytes], sink: Callable[[bytes], object], *, max_bytes: int, idle_seconds: float, limit: str
) -> int:
    """Call `sink` with the whole body, piece by piece, in a thread; returns how many bytes that were.

    While one block is in the thread the next is received. What came before a cut has gone to `sink` too, and whatever
    ends this, `sink` is not running any more. Raises `TooLarge` past `max_bytes`, naming the setting `limit`,
    `SenderGone` when the sender is cut off or silent for `idle_seconds`, and whatever `sink` raises.
    """
    received = 0
    gathered: list[bytes] = []
    gathered_bytes = 0
    writing: asyncio.Future[object] | None = None
    cut: SenderGone | None = None
    source = aiter(body)
    try:
        while cut is None:
            try:
                async with asyncio.timeout(idle_seconds):
                    chunk = await anext(source, None)
            except TimeoutError:
                cut = SenderGone(f"nothing came for {idle_seconds:g} s: go on where the upload broke off")
                break
            except ClientDisconnect:
                cut = SenderGone("the connection broke: go on where the upload broke off")
                break
            if chunk is None:
                break
            received += len(chunk)
            if received > max_bytes:
                raise TooLarge(f"the upload is over {max_bytes} bytes: see {limit}")
            gathered.append(chunk)
            gathered_bytes += len(chunk)
            if gathered_bytes >= BLOCK_BYTES:
                if writing is not None:
                    await asyncio.shield(writing)
                writing = _in_thread(sink, gathered)
                gathered, gathered_bytes = [], 0
        if writing is not None:
            await asyncio.shield(writing)
        if gathered:
            writing = _in_thread(sink, gathered)
            await asyncio.shield(writing)
        if cut is not None:
            raise cut
        return received
    finally:
        if writing is not None:
            await _ended(writing)


def _in_thread(sink: Callable[[bytes], object], chunks: list[bytes]) -> "asyncio.Future[object]":
    def run() -> None:
        for chunk in chunks:
            sink(chunk)

    return asyncio.ensure_future(asyncio.to_thread(run))


async def _ended(writing: "asyncio.Future[object]") -> None:
    """Wait for a thread that cannot be cancelled, even while this task is."""
    cancelled = False
    while not writing.done():
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError:
            cancelled = True
    if not writing.cancelled():
        writing.exception()
    if cancelled:
        raise asyncio.CancelledError
