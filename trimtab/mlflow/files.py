"""The files of one MLflow model, wherever they lie: in a folder, or behind a tracking server's artifact proxy.

Only what a model needs is read, by names that are checked first: an MLmodel file, a listing or a graph may say
anything.
"""

import re
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from services.kernel.errors import InvalidInput, NotFound
from services.kernel.storage.keys import checked_key
from trimtab.mlflow.budget import Budget
from trimtab.mlflow.tracking import Tracking

_ARTIFACTS = "mlflow-artifacts/artifacts"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\%?#]")
_MAX_LISTED = 1_000


class ModelFiles(Protocol):
    """Reads the files of one model by their names within it."""

    def fetch(self, name: str, target: Path) -> None:
        """Write the file to `target`. Raises `NotFound`, `InvalidInput` for a name that leads elsewhere, `TooLarge`."""

    def names(self, folder: str = "") -> set[str]:
        """The names of what lies directly in `folder`, or at the top; none when there is no such folder."""


class FolderFiles:
    """In a folder on this machine."""

    def __init__(self, root: Path, budget: Budget) -> None:
        self._root, self._budget = root, budget

    def fetch(self, name: str, target: Path) -> None:
        """See `ModelFiles`. No symbolic link is followed."""
        path = self._inside(name)
        if not path.is_file():
            raise NotFound(f"the model folder {self._root} lacks the file {name}")
        self._budget.file()
        self._budget.take(path.stat().st_size)
        shutil.copyfile(path, target, follow_symlinks=False)

    def names(self, folder: str = "") -> set[str]:
        """See `ModelFiles`."""
        path = self._inside(folder) if folder else self._root
        return {item.name for item in path.iterdir()} if path.is_dir() else set()

    def _inside(self, name: str) -> Path:
        path = self._root
        for segment in checked_name(name).split("/"):
            path = path / segment
            if path.is_symlink():
                raise InvalidInput(f"{name} is a symbolic link in the model folder {self._root}: put the file itself")
        return path


class ServedFiles:
    """Behind the artifact proxy of a tracking server, under `root` there."""

    def __init__(self, tracking: Tracking, root: str, budget: Budget) -> None:
        self._tracking, self._root, self._budget = tracking, root, budget

    def fetch(self, name: str, target: Path) -> None:
        """See `ModelFiles`. The file is streamed."""
        self._budget.file()
        path = f"{_ARTIFACTS}/{quote(f'{self._root}/{checked_name(name)}')}"
        with self._tracking.open(path, self._budget) as blocks, target.open("xb") as file:
            for block in blocks:
                file.write(block)

    def names(self, folder: str = "") -> set[str]:
        """See `ModelFiles`."""
        path = f"{self._root}/{checked_name(folder)}" if folder else self._root
        answer = self._tracking.get(_ARTIFACTS, path=path)
        listed = answer.get("files", [])
        if not isinstance(listed, list) or len(listed) > _MAX_LISTED:
            raise InvalidInput(f"the model's folder {folder} holds more than {_MAX_LISTED} files")
        paths = (item.get("path") for item in listed if isinstance(item, dict))
        return {path.rpartition("/")[2] for path in paths if isinstance(path, str)}


def proxied_root(location: str, tracking: Tracking) -> str:
    """The folder in the artifact proxy that an artifact's `location` names.

    Raises `InvalidInput` that says what to do when the proxy does not hand it out: nothing here opens a path or a
    bucket because a server says so.
    """
    url = urlsplit(location)
    if url.scheme != "mlflow-artifacts":
        kind = f"{url.scheme}:" if url.scheme else "a folder of its own"
        raise InvalidInput(
            f"the model lies in {kind}, which the server at {tracking.uri} does not hand out: start it with "
            "--serve-artifacts and log the model again, or fetch it where it can be read "
            "(mlflow artifacts download --artifact-uri URI --dst-path DIR) and import that folder"
        )
    if url.netloc not in ("", tracking.host):
        raise InvalidInput(
            f"the model lies behind the artifact proxy at {url.netloc}, another server than {tracking.host}: "
            "import it from there, or fetch its folder with mlflow artifacts download and import that"
        )
    return _remote(url.path.strip("/"), location)


def within(root: str, path: str) -> str:
    """`path` below `root` in the proxy. Raises `InvalidInput` for one that leads out of it."""
    return f"{root}/{_remote(path, path)}"


def _remote(path: str, said: str) -> str:
    if not path or _UNSAFE.search(path) or any(segment in ("", ".", "..") for segment in path.split("/")):
        raise InvalidInput(f"{said[:200]!r} is no plain path of an artifact")
    return path


def checked_name(name: str) -> str:
    """A name that the model's own documents gave, as a plain relative path. Raises `InvalidInput`."""
    try:
        return checked_key(name)
    except InvalidInput as error:
        raise InvalidInput(f"the model names the file {name[:80]!r}, which is no plain path inside it") from error
