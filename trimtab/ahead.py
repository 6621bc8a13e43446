"""Sends a large file while it is hashed, instead of afterwards.

What a version is made of is named by its SHA-256, which nobody knows before the last byte is read. So the bytes go to
`/mlops/blobs/named/{name}`, under a name of the file's own, and the registry hashes them as well. Nothing rests on that
but time: the version is registered by the digest that was found here, and whatever the registry lacks then is sent by
its digest. Once the digest is known and the registry has such bytes, sending ends; at most that much was sent in vain.
"""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import Conflict, InvalidInput, NoRoom, TrimtabError

if TYPE_CHECKING:
    from trimtab.uploading import Uploader

LEAST_BYTES = 64 << 20
"""A smaller file is hashed in no time."""
DISCARD_TRIES = 5


class Needless(Exception):
    """The registry has these bytes."""


def send_ahead(uploader: "Uploader", registry: str, path: Path, size: int) -> str:
    """The SHA-256 of the file at `path`, of `size` bytes; meanwhile it is sent, as far as it must be.

    Raises what `Uploader.run` does.
    """
    url = f"{registry}/mlops/blobs/named/{name_of(path)}"
    needless, broken = threading.Event(), threading.Event()

    def look() -> str:
        sha256, _ = uploader.hashed(path, broken)
        found = uploader.progress_of(f"{registry}/mlops/blobs/{sha256}")
        if found is not None and found[1]:
            needless.set()
        return sha256

    with ThreadPoolExecutor(1) as thread:
        hashing = thread.submit(look)
        try:
            try:
                _send(uploader, url, path, size, needless)
            except (Conflict, InvalidInput):
                pass  # by its digest it may go; if not, that is said then
            except NoRoom:  # there is none to begin it, and none need be where it has come or was begun by its digest
                found = uploader.progress_of(f"{registry}/mlops/blobs/{hashing.result()}")
                if found is None or not any(found):
                    raise
            return hashing.result()
        finally:
            broken.set()


def name_of(path: Path) -> str:
    """64 hexadecimal digits for a file as it is now: the same in another run, another one once it is written to."""
    about = path.stat()
    known = (path.resolve(), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    return hashlib.sha256("\0".join(map(str, known)).encode("utf-8", "surrogateescape")).hexdigest()


def _send(uploader: "Uploader", url: str, path: Path, size: int, needless: threading.Event) -> None:
    found = uploader.progress_of(url)
    if found is None or found[1]:  # a registry that knows no names, or has all of it
        return
    try:
        uploader.send(url, path, size, found[0], needless)
    except Needless:
        for _ in range(DISCARD_TRIES):  # until the registry has seen that nobody sends any more
            with suppress(TrimtabError):
                if uploader.request("DELETE", url).status_code != 409:
                    return
            if uploader.stop.wait(0.2):
                return
