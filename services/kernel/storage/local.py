"""The artifact store in a local folder.

A write goes to a temporary file in the same filesystem, is flushed to the disk and renamed into place; the
folder is flushed too. Reads follow no symbolic link that leaves the store.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from services.kernel.errors import Conflict, Misconfigured, NotFound, TooLarge, Unavailable
from services.kernel.storage.keys import checked_key, checked_prefix
from services.kernel.storage.store import StoredObject

_INCOMING = ".incoming"
"""Folder of unfinished writes; its name is outside the grammar of keys."""


class LocalStore:
    """`ArtifactStore` in the folder `root`, which is made when absent. Raises `Misconfigured` if it can't be
    written.
    """

    def __init__(self, root: Path) -> None:
        try:
            (root / _INCOMING).mkdir(parents=True, exist_ok=True)
            self._root = root.resolve(strict=True)
        except OSError as error:
            raise Misconfigured(
                f"the artifact folder {root} cannot be used ({error.strerror}): "
                "make it writable or set TRIMTAB_STORAGE_DIR"
            ) from error
        if not os.access(self._root / _INCOMING, os.W_OK | os.X_OK):
            raise Misconfigured(
                f"the artifact folder {root} cannot be written: mend its owner or set TRIMTAB_STORAGE_DIR"
            )

    @property
    def name(self) -> str:
        """The folder."""
        return f"local folder {self._root}"

    def put_file(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        with path.open("rb") as source:
            self._put(key, lambda target: shutil.copyfileobj(source, target, 1 << 20))

    @property
    def direct(self) -> None:
        """See `ArtifactStore`: a folder takes no uploads by itself."""
        return None

    def take_file(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        target = self._path(key)
        try:
            with path.open("rb") as taken:
                os.fsync(taken.fileno())
            os.utime(path)
            with self._writing(key):
                self._move_into_place(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise self._unavailable(error) from error
            self.put_file(key, path)
            path.unlink()

    def path_of(self, key: str) -> Path | None:
        """See `ArtifactStore`."""
        self.stat(key)
        return self._path(key)

    def put_bytes(self, key: str, data: bytes) -> None:
        """See `ArtifactStore`."""
        self._put(key, lambda target: target.write(data))

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        """See `ArtifactStore`."""
        with self._reading(key), self._path(key).open("rb") as source:
            data = source.read() if max_bytes is None else source.read(max_bytes + 1)
        if max_bytes is not None and len(data) > max_bytes:
            raise TooLarge(f"{key} has more than {max_bytes} bytes")
        return data

    def fetch(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        partial = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self._reading(key), self._path(key).open("rb") as source, partial.open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """See `ArtifactStore`."""
        with self._reading(key):
            return self._path(key).open("rb")

    def exists(self, key: str) -> bool:
        """See `ArtifactStore`."""
        return self._path(key).is_file()

    def stat(self, key: str) -> StoredObject:
        """See `ArtifactStore`."""
        with self._reading(key):
            path = self._path(key)
            if path.is_dir():
                raise FileNotFoundError(path)
            found = path.stat()
            return StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def touch(self, key: str) -> None:
        """See `ArtifactStore`."""
        with self._reading(key):
            path = self._path(key)
            if path.is_dir():
                raise FileNotFoundError(path)
            os.utime(path)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ArtifactStore`."""
        folder = checked_prefix(prefix)
        yield from self._walk(self._root / folder, f"{folder}/" if folder else "")

    def delete(self, key: str) -> None:
        """See `ArtifactStore`."""
        path = self._path(key)
        if path.is_dir():
            return
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._unavailable(error) from error
        for folder in path.parents:
            if folder == self._root:
                return
            try:
                folder.rmdir()
            except OSError:  # not empty
                return

    def end_writes(self, prefix: str, before: datetime) -> int:
        """See `ArtifactStore`. All unfinished writes lie in one folder."""
        checked_prefix(prefix)
        ended = 0
        for partial in (self._root / _INCOMING).iterdir():
            try:
                if partial.is_file() and datetime.fromtimestamp(partial.stat().st_mtime, UTC) < before:
                    partial.unlink()
                    ended += 1
            except FileNotFoundError:  # it ended by itself
                continue
        return ended

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredObject]:
        try:
            with os.scandir(folder) as found:
                entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(folder / entry.name, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # deleted since the folder was read
                    continue
                yield StoredObject(prefix + entry.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def _path(self, key: str) -> Path:
        path = self._root / checked_key(key)
        if not path.resolve().is_relative_to(self._root):
            raise NotFound(f"there is no artifact {key}")
        return path

    def _put(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        path = self._path(key)
        partial = self._root / _INCOMING / uuid.uuid4().hex
        try:
            with self._writing(key):
                with partial.open("xb") as target:
                    write(target)
                    target.flush()
                    os.fsync(target.fileno())
                self._move_into_place(partial, path)
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def _move_into_place(self, partial: Path, path: Path) -> None:
        for last_try in (False, False, True):
            made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.replace(path)
            except FileNotFoundError:  # a concurrent delete removed the empty folder
                if last_try:
                    raise
                continue
            for folder in {path.parent, *(folder.parent for folder in made)}:
                _flush_folder(folder)
            return

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise Conflict(f"{key} is the folder of another artifact, or one of its folders is an artifact") from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"there is no artifact {key}") from error
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(f"the artifact folder {self._root} failed: {error.strerror or error}")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
