"""Bodies that go to a file or come from one, block by block: memory does not grow with them. Blocking."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from trimtab.calls import Call
from trimtab.errors import InvalidInput, Unavailable
from trimtab.surface import answer_of, redirected, refusal, unreachable

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all)."""

BLOCK_BYTES = 1 << 20
TIMEOUT = httpx.Timeout(30.0, read=900.0)
"""Of a large body: the server answers only when it has checked all of it."""


def download(http: httpx.Client, call: Call, path: Path, progress: Progress | None = None, *, broken: str = "") -> int:
    """Write the answer of `call` to `path`, which appears when it is complete; how many bytes that are.

    `broken` says what may be the reason when the answer breaks off. Raises `InvalidInput` when the file cannot be
    written, and the errors of every call.
    """
    try:
        with http.stream(call.method, call.path, headers=dict(call.headers), timeout=TIMEOUT) as answer:
            if answer.status_code >= 400:
                raise refusal(answer.status_code, answer.read(), answer.request)
            total_bytes, done_bytes = int(answer.headers.get("content-length", 0)), 0
            with written(path) as file:
                for block in answer.iter_bytes(BLOCK_BYTES):
                    file.write(block)
                    done_bytes += len(block)
                    if progress is not None:
                        progress(done_bytes, total_bytes)
        return done_bytes
    except httpx.RemoteProtocolError as error:
        raise Unavailable(f"{unreachable(str(http.base_url), error).detail}{broken}") from error
    except httpx.HTTPError as error:
        raise unreachable(str(http.base_url), error) from error


def upload(http: httpx.Client, call: Call, path: Path, media_type: str, progress: Progress | None = None) -> Any:
    """Send `call` with the file at `path` as its body, to whoever takes it; the answer's JSON.

    Raises `InvalidInput` when the file cannot be read, and the errors of every call.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = http.request(call.method, call.path, content=b"")  # the gateway only says who takes it (307)
            url = redirected(str(http.base_url), asked) or call.path
            headers = {**call.headers, "Content-Type": media_type, "Content-Length": str(size)}
            body = _blocks(file, size, progress)
            return answer_of(http.request(call.method, url, headers=headers, content=body, timeout=TIMEOUT))
    except httpx.HTTPError as error:
        raise unreachable(str(http.base_url), error) from error
    except OSError as error:
        raise InvalidInput(f"{path} can't be read ({error.strerror or error})") from error


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path` when it is complete. Raises `InvalidInput` when it cannot be written."""
    partial = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _blocks(file: BinaryIO, size: int, progress: Progress | None) -> Iterator[bytes]:
    done_bytes = 0
    while block := file.read(BLOCK_BYTES):
        yield block
        done_bytes += len(block)
        if progress is not None:
            progress(done_bytes, size)
